"""Models of torchvision and timm by name, where these are installed."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from libraries import imported

from cnnpref.errors import UserError
from cnnpref.nets import describe, open_net
from cnnpref.nets.pytorch.build import built_net


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "size", "layer", "shape", "box"),
    [
        ("torchvision:resnet18", 64, "layer1.0.add", (64, 16, 16), (19, 19, 46, 46)),
        ("torchvision:vgg11", 64, "features.3", (128, 32, 32), (29, 29, 37, 37)),
        ("torchvision:googlenet", 64, "inception3a.cat", (256, 8, 8), (17, 17, 60, 60)),
        ("torchvision:efficientnet_b0", 64, "features.0.0", (32, 32, 32), (31, 31, 34, 34)),
        ("torchvision:convnext_tiny", 64, "features.1.0.add", (96, 16, 16), (20, 20, 48, 48)),
        ("torchvision:vit_b_16", 224, "conv_proj", (768, 14, 14), (112, 112, 128, 128)),
        ("timm:resnet18", 64, "layer1.0.add", (64, 16, 16), (19, 19, 46, 46)),
        ("timm:convnext_atto", 64, "stages.0.blocks.0", (40, 16, 16), (20, 20, 48, 48)),
    ],
)
def test_a_model_by_its_name(
    name: str, size: int, layer: str, shape: tuple[int, ...], box: tuple[int, ...]
) -> None:
    package = name.partition(":")[0]
    imported(package)
    section = {"torch": name, "input_shape": [3, size, size]}
    described, net = describe(section), open_net(section)
    assert described.layers == net.layers
    assert described.sha256["builder"] == f"{package} {version(package)}"
    assert net.layers[layer] == shape
    assert net.receptive_field(layer) == box
    x = torch.rand(2, 3, size, size)
    with torch.no_grad():
        answer = net.module.eval()(x)  # type: ignore[attr-defined]
        found = net.activations(x, list(net.layers)[-1])
    torch.testing.assert_close(found, answer, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("package", ["torchvision", "timm"])
def test_a_model_that_there_is_not(package: str) -> None:
    imported(package)
    with pytest.raises(UserError, match=r"has no model 'resnet81' .did you mean 'resnet"):
        open_net({"torch": f"{package}:resnet81", "input_shape": [3, 64, 64]})


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["regnet_y_400mf", "resnet18"])
def test_a_model_is_planned_without_its_weights(name: str) -> None:
    """Also one whose builder computes with tensors that are no weights."""
    imported("torchvision")
    section = {"torch": f"torchvision:{name}", "input_shape": [3, 64, 64]}
    assert built_net(section).device.type == "meta"


@pytest.mark.filterwarnings("ignore")
def test_a_model_with_a_backbone_fetches_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    imported("torchvision")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    section = {"torch": "torchvision:lraspp_mobilenet_v3_large", "input_shape": [3, 64, 64]}
    assert "classifier.low_classifier" in describe(section).layers
    assert not list(tmp_path.iterdir())
