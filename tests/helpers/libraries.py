"""Torchvision, timm and the Hugging Face hub with random weights, on a server of this machine."""

from __future__ import annotations

import io
import json
import os
import warnings
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save
from serving import Page, Site
from torch import Tensor

MOVED = "CNNPREF_TEST_WEIGHTS"  # of commands that a test starts: addresses of weights, as JSON
COMMIT = "1234567890" * 4
SQUEEZENET = "SqueezeNet1_1_Weights.IMAGENET1K_V1"

_OPERATORS = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor a) -> Tensor",
}
_DECLARED: list[torch.library.Library] = []  # they hold as long as this does


def declare_operators() -> None:
    """Torchvision's compiled operators may be missing; of these two it wants the names at least."""
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name, signature in _OPERATORS.items():
        if not hasattr(torch.ops.torchvision, name):
            library.define(f"{name}{signature}")
    _DECLARED.append(library)


def imported(package: str) -> Any:
    """The package, or the test is skipped."""
    declare_operators()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(package, reason=f"{package} is not installed")


def move_weights() -> None:
    """Let weights of torchvision have the addresses that the environment says."""
    for name, address in json.loads(os.environ.get(MOVED, "{}")).items():
        import_module("torchvision.models").get_weight(name).value.url = address


def saved(state: dict[str, Tensor]) -> bytes:
    """What `torch.save` writes."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def seeded_model(library: str, name: str, **arguments: Any) -> torch.nn.Module:
    """A model with random weights, always the same, other than the ones cnnpref makes."""
    build = {"torchvision": "torchvision.models.get_model", "timm": "timm.create_model"}[library]
    path, _, function = build.rpartition(".")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        made: torch.nn.Module = getattr(imported(path), function)(name, **arguments)
    return made.eval()


class Libraries:
    """Empty caches, and a server with what the libraries look for."""

    def __init__(self, folder: Path, site: Site, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.site, self.patch = folder, site, patch
        patch.setenv("TORCH_HOME", str(folder / "torch"))
        patch.setenv("HF_HOME", str(folder / "hf"))
        patch.setenv("CNNPREF_HOME", str(folder / "own"))
        patch.setenv("HF_ENDPOINT", site.address(""))
        patch.setenv("HF_HUB_DISABLE_XET", "1")
        patch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
        patch.setenv("NO_PROXY", "127.0.0.1")
        self.checkpoints = folder / "torch" / "hub" / "checkpoints"

    def torchvision(self, weights: str = SQUEEZENET) -> bytes:
        """Give weights of torchvision random content, under an address of the server."""
        models = imported("torchvision.models")
        chosen = models.get_weight(weights)
        name = next(n for n in models.list_models() if type(chosen) is models.get_model_weights(n))
        content = saved(seeded_model("torchvision", name).state_dict())
        self.file = self.checkpoints / f"{name}-{sha256(content).hexdigest()[:8]}.pth"
        self.site.pages[f"/{self.file.name}"] = Page(content)
        address = self.site.address(f"/{self.file.name}")
        self.patch.setattr(chosen.value, "url", address)
        self.patch.setenv(MOVED, json.dumps({weights: address}))
        return content

    def place(self, content: bytes) -> Path:
        """Put it where torchvision keeps the weights."""
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        self.file.write_bytes(content)
        return self.file

    def hub(self) -> Any:
        """The hub's client, told of the server and of the empty cache."""
        hub = imported("huggingface_hub")
        constants = imported("huggingface_hub.constants")
        self.cache = self.folder / "hf" / "hub"
        self.patch.setattr(constants, "HF_HUB_CACHE", str(self.cache))
        self.patch.setattr(constants, "ENDPOINT", self.site.address(""))
        template = self.site.address("/{repo_id}/resolve/{revision}/{filename}")
        self.patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        self.patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        for timeout in ("HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT"):
            self.patch.setattr(constants, timeout, 60)  # seconds; the machine may be busy
        return hub

    def publish(self, repository: str, files: dict[str, bytes], revision: str = "main") -> None:
        """Put files on the hub."""
        for name, content in files.items():
            told = {"X-Repo-Commit": COMMIT}
            page = Page(content, etag=f'"{sha256(content).hexdigest()}"', headers=told)
            for version in (revision, COMMIT):
                self.site.pages[f"/{repository}/resolve/{version}/{name}"] = page

    def lack(self, repository: str, *names: str) -> None:
        """Let the hub say that a model has no such files."""
        told = {"X-Repo-Commit": COMMIT, "X-Error-Code": "EntryNotFound"}
        for name in names:
            for version in ("main", COMMIT):
                page = Page(status=404, headers=told)
                self.site.pages[f"/{repository}/resolve/{version}/{name}"] = page

    def keep(self, repository: str, files: dict[str, bytes]) -> None:
        """Put files into the hub's cache, as its client does."""
        folder = self.cache / f"models--{repository.replace('/', '--')}"
        for part in ("blobs", "refs", f"snapshots/{COMMIT}"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        (folder / "refs" / "main").write_text(COMMIT)
        for name, content in files.items():
            blob = sha256(content).hexdigest()
            (folder / "blobs" / blob).write_bytes(content)
            (folder / "snapshots" / COMMIT / name).symlink_to(f"../../blobs/{blob}")


def safetensors_of(module: torch.nn.Module) -> bytes:
    return save({key: value.contiguous() for key, value in module.state_dict().items()})
