"""Models of torchvision and timm with their published weights: planned, fetched, read."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from basics import refusal
from calling import call, fail, succeed, unit_files
from libraries import COMMIT, Libraries, imported, safetensors_of, seeded_model
from serving import Page

from cnnpref.nets import Net, describe, open_net, without_fetching
from cnnpref.planning.config import resolve_config
from cnnpref.planning.plan import make_plan
from cnnpref.results.unit_file import read_unit

pytestmark = [
    pytest.mark.usefixtures("in_tmp_path"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
VISION = {"torch": "torchvision:squeezenet1_1", "weights": "DEFAULT"}
TIMM = {"torch": "timm:test_resnet.r160_in1k", "weights": "pretrained"}
REPOSITORY = "timm/test_resnet.r160_in1k"
OWN = {"torch": "timm:hf-hub:lab/net", "weights": "pretrained"}
IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def digest(section: dict[str, Any]) -> str:
    made = make_plan(resolve_config({"net": section, "layers": "all"}, "run"), describe)
    return made.series[0].digest


def agrees(net: Net, module: torch.nn.Module, layer: str) -> None:
    """The net's layer has the values that the module, as its library makes it, gives at its end."""
    x = torch.rand(2, *net.input_shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(net.activations(x, layer).flatten(1), module(x).flatten(1))


def is_imagenet(net: Net) -> None:
    assert net.space.mean == pytest.approx([255 * each for each in IMAGENET["mean"]])
    assert net.space.scale == pytest.approx([1 / (255 * each) for each in IMAGENET["std"]])


def test_torchvision_is_planned_then_fetched_then_read(libraries: Libraries) -> None:
    content = libraries.torchvision()
    described, before = describe(VISION), digest(VISION)
    assert described.input_shape == (3, 224, 224)
    assert described.labels[:2] == ("tench", "goldfish")
    assert len(described.labels) == 1000
    assert described.sha256["weights"].endswith(f"sha256:{libraries.file.stem[-8:]}")
    assert libraries.site.requests == []
    net = open_net(VISION)
    assert libraries.file.read_bytes() == content
    assert net.layers == described.layers
    is_imagenet(net)
    agrees(net, seeded_model("torchvision", "squeezenet1_1"), "classifier.3")
    open_net(VISION)
    assert [request.path for request in libraries.site.requests] == [f"/{libraries.file.name}"]
    assert digest(VISION) == before


def test_names_of_the_same_weights_have_the_same_key(libraries: Libraries) -> None:
    libraries.torchvision()
    names = ("DEFAULT", "IMAGENET1K_V1", "SqueezeNet1_1_Weights.IMAGENET1K_V1")
    assert len({digest({**VISION, "weights": name}) for name in names}) == 1
    assert digest({"torch": VISION["torch"]}) != digest(VISION)


def test_what_the_library_says_can_be_overridden(libraries: Libraries) -> None:
    libraries.place(libraries.torchvision())
    own = {**VISION, "input_shape": [3, 96, 64], "mean": [0, 0, 0]}
    net = open_net(own)
    assert net.input_shape == describe(own).input_shape == (3, 96, 64)
    assert net.space.mean == (0, 0, 0)
    assert net.space.scale == pytest.approx([1 / (255 * each) for each in IMAGENET["std"]])
    assert digest(own) != digest(VISION)


def test_a_model_that_is_built_otherwise_with_weights() -> None:
    """GoogLeNet with weights undoes ImageNet's normalisation first, and has no auxiliary heads."""
    imported("torchvision.models")
    with_weights = describe({"torch": "torchvision:googlenet", "weights": "DEFAULT"})
    without = describe({"torch": "torchvision:googlenet", "args": {"init_weights": False}})
    assert "getitem" in with_weights.layers
    assert "getitem" not in without.layers
    assert without.labels == ()
    assert without.input_shape == (3, 224, 224)


def test_a_size_that_depends_on_the_weights() -> None:
    imported("torchvision.models")
    section = {"torch": "torchvision:vit_b_16", "weights": "IMAGENET1K_SWAG_E2E_V1"}
    assert describe(section).input_shape == (3, 384, 384)
    assert describe({**section, "weights": "DEFAULT"}).input_shape == (3, 224, 224)


def test_a_file_in_the_cache_that_is_another_one(libraries: Libraries) -> None:
    path = libraries.place(libraries.torchvision()[::-1])
    line = refusal(open_net, VISION)
    assert line.startswith(f"{path} is not the published file: its sha256 is ")
    assert f"must begin with {path.stem[-8:]}; delete it and run 'cnnpref fetch torchvis" in line
    assert "if it holds weights of your own, give it another name, and that as weights" in line


@pytest.mark.parametrize(
    ("page", "told"),
    [
        (Page(b"something else"), ": its sha256 is "),
        (Page(status=404), ": 404 Not Found; run 'cnnpref fetch torchvision:squeezenet1_1 --wei"),
    ],
)
def test_a_server_that_gives_no_weights(libraries: Libraries, page: Page, told: str) -> None:
    libraries.torchvision()
    libraries.site.pages[f"/{libraries.file.name}"] = page
    line = refusal(open_net, VISION)
    assert told in line
    assert f"or get the file by hand and put it as {libraries.file}" in line
    assert [p for p in libraries.checkpoints.iterdir() if p.suffix != ".lock"] == []


def test_timm_from_the_hub(libraries: Libraries) -> None:
    libraries.hub()
    module = seeded_model("timm", "test_resnet")
    content = safetensors_of(module)
    libraries.publish(REPOSITORY, {"model.safetensors": content})
    described, before = describe(TIMM), digest(TIMM)
    assert described.input_shape == (3, 160, 160)
    assert described.labels[1] == "goldfish, Carassius auratus"
    assert libraries.site.requests == []
    net = open_net(TIMM)
    assert net.layers == described.layers
    assert net.space.scale[0] == pytest.approx(1 / (255 * 0.5))  # of these weights' own
    agrees(net, module, "fc")
    assert digest(TIMM) == before
    asked = len(libraries.site.requests)
    assert asked
    agrees(open_net(TIMM), module, "fc")
    assert len(libraries.site.requests) == asked


def test_timm_from_the_hubs_cache_as_a_pickle(libraries: Libraries) -> None:
    libraries.hub()
    module = seeded_model("timm", "test_resnet")
    libraries.lack(REPOSITORY, "model.safetensors")
    buffer = Path("pytorch_model.bin")
    torch.save(module.state_dict(), buffer)
    libraries.keep(REPOSITORY, {"pytorch_model.bin": buffer.read_bytes()})
    agrees(open_net(TIMM), module, "fc")
    assert libraries.site.requests == []


def test_the_first_version_that_was_fetched_holds(libraries: Libraries) -> None:
    libraries.hub()
    module = seeded_model("timm", "test_resnet")
    libraries.keep(REPOSITORY, {"model.safetensors": safetensors_of(module)})
    open_net(TIMM)
    folder = libraries.cache / f"models--{REPOSITORY.replace('/', '--')}"
    (folder / "refs" / "main").write_text("f" * 40)
    agrees(open_net(TIMM), module, "fc")


def test_a_damaged_file_in_the_hubs_cache(libraries: Libraries) -> None:
    libraries.hub()
    libraries.keep(REPOSITORY, {"model.safetensors": b"weights"})
    (blob,) = libraries.cache.glob("*/blobs/*")
    blob.write_bytes(b"wiehgts")
    assert f"{blob} is damaged: its sha256 is " in refusal(open_net, TIMM)


def test_a_model_that_a_lab_put_on_the_hub(libraries: Libraries) -> None:
    libraries.hub()
    module = seeded_model("timm", "test_resnet", num_classes=3)
    told = {
        "architecture": "test_resnet",
        "num_classes": 3,
        "label_names": ["cat", "dog", "owl"],
        "pretrained_cfg": {"input_size": [3, 64, 64], "mean": [0.1, 0.2, 0.3]},
    }
    files = {"config.json": json.dumps(told).encode(), "model.safetensors": safetensors_of(module)}
    line = refusal(describe, OWN)
    assert "its config.json, which says what it is made of, is not in the cache" in line
    assert line.endswith("run 'cnnpref fetch timm:hf-hub:lab/net' first")
    libraries.publish("lab/net", files)
    assert "sha256 as on the hub" in succeed("fetch", "timm:hf-hub:lab/net")
    asked = len(libraries.site.requests)
    described, net = describe(OWN), open_net(OWN)
    assert described.labels == ("cat", "dog", "owl")
    assert described.sha256["config.json"] == sha256(files["config.json"]).hexdigest()
    assert net.input_shape == described.input_shape == (3, 64, 64)
    assert net.space.mean == pytest.approx([25.5, 51, 76.5])
    agrees(net, module, "fc")
    assert len(libraries.site.requests) == asked
    assert digest({**OWN, "torch": f"{OWN['torch']}@{COMMIT}"}) != digest(OWN)


VISION_NAMES = "allowed: IMAGENET1K_V1, DEFAULT, or the path of a file"


@pytest.mark.parametrize(
    ("section", "told"),
    [
        (
            {**VISION, "weights": "IMAGENET1K_V2"},
            f"(did you mean 'IMAGENET1K_V1'?); {VISION_NAMES}",
        ),
        ({**VISION, "weights": "w.pth"}, "w.pth: no such file"),
        ({**VISION, "torch": "torchvision:squeezenet11"}, "(did you mean 'squeezenet1_1' or"),
        ({**VISION, "args": {"num_classes": 3}}, "'num_classes' expected value 1000 but got 3"),
        ({**TIMM, "weights": "r160_in1k"}, "allowed: pretrained, or the path of a file; timm's"),
        ({**TIMM, "torch": "timm:test_resnet.a1"}, "no weights 'a1'; there are timm:test_resnet."),
        ({**TIMM, "torch": "timm:test_resmet"}, "has no model 'test_resmet' (did you mean 'test_"),
        ({**TIMM, "torch": "timm:resnet200"}, "no weights are published for it; there are none of"),
        (TIMM, f"{REPOSITORY} on the Hugging Face hub: "),
    ],
)
def test_what_there_is_not(libraries: Libraries, section: dict[str, Any], told: str) -> None:
    imported("timm")
    libraries.torchvision()
    libraries.hub()
    assert told in refusal(open_net, section)


def test_fetch_by_name_and_by_config(libraries: Libraries) -> None:
    libraries.torchvision()
    config = {"net": VISION, "layers": "all"}
    line = succeed("fetch", config)
    assert line.splitlines()[-1].startswith(f"net: {libraries.file} (5.0 MB, sha256 ")
    line = succeed("fetch", VISION["torch"], "--weights", "IMAGENET1K_V1")
    assert line.startswith(f"torchvision:squeezenet1_1: {libraries.file} (5.0 MB, sha256 ")
    assert len(libraries.site.requests) == 1
    assert "no weights 'V9'" in fail("fetch", VISION["torch"], "--weights", "V9")
    own = {"net": {**VISION, "weights": "w.pth"}, "layers": "all"}
    assert "net: its weights are a file of its own; nothing to fetch" in succeed("fetch", own)
    assert call("fetch").exit_code == 2


def test_info_fetches_nothing(libraries: Libraries) -> None:
    libraries.torchvision()
    assert "classifier.1" in call("info", {"net": VISION, "layers": "all"}).stdout
    assert without_fetching(VISION)["input_shape"] == [3, 224, 224]
    assert libraries.site.requests == []


def test_units_say_which_file_they_come_from(libraries: Libraries) -> None:
    content = libraries.torchvision()
    config = {
        **{
            "net": {**VISION, "input_shape": [3, 64, 64]},
            "layers": {"features.0": {"units": "0-1"}},
        },
        **{"methods": ["gd"], "options": {"gd": {"iter_n": 2}}, "run": "named"},
    }
    succeed("generate", config)
    (first, _) = unit_files().values()
    origin = read_unit(first).attributes["sha256"]["net"]
    assert origin["weights"] == sha256(content).hexdigest()
    assert origin["torch"] == VISION["torch"]
