"""Layers, file formats and refusals, compared with what real Caffe computed.

`python tests/test_caffe_conformance.py` prints a table of the recorded cases, by group.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from basics import refusal
from places import DATA, SHARED

from cnnpref.errors import UserError
from cnnpref.nets.caffe import CaffeNet, load_caffe

FOLDERS = {
    "own": DATA / "conformance",
    "shared": SHARED / "conformance",
}

# Not Caffe's value, on purpose. Caffe's Split shares its memory between its tops, so that a ReLU in
# place on one of them also changes the other, and `p` that is computed of it. Here every layer
# reads what the prototxt says; the case holds that value (trueout:) for the blob that follows only.
UNLIKE_CAFFE = {("fmtaliasing__relu_on_split_top", "out:p")}
# Recorded in a batch of 3, whose statistics its images share. Here an image has its own, as in a
# batch of 1: see test_company.py.
IN_COMPANY = "batchnorm__batch_stats_eps"

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Case:
    """A net recorded in a folder, and what its manifest says of it."""

    folder: Path
    facts: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.facts["case"])

    @property
    def refused(self) -> bool:
        return "expect_error" in self.facts

    def load(self) -> CaffeNet:
        model = self.folder / "net.caffemodel"
        return load_caffe(self.folder / "net.prototxt", model if model.exists() else None)

    @cached_property
    def arrays(self) -> dict[str, Array]:
        with np.load(self.folder / "data.npz") as file:
            return dict(file)

    def recorded(self, kind: str) -> dict[str, Array]:
        """By the name of the blob."""
        return {k.removeprefix(kind): v for k, v in self.arrays.items() if k.startswith(kind)}


def cases(folder: Path) -> list[Case]:
    manifest = json.loads((folder / "manifest.json").read_text())
    found = [Case(folder / facts["case"], facts) for facts in manifest["cases"]]
    return [case for case in found if case.name != IN_COMPANY]


def parameters(refused: bool) -> list[Any]:
    found = []
    for source, folder in FOLDERS.items():
        if folder.exists():
            chosen = (case for case in cases(folder) if case.refused == refused)
            found += [pytest.param(case, id=f"{source}-{case.name}") for case in chosen]
        else:
            absent = pytest.mark.skip(reason=f"there is no folder {folder}")
            found.append(pytest.param(None, id=source, marks=absent))
    return found


def relative_error(got: Array, want: Array) -> float:
    """Max |got - want| / max |want|; infinite where shapes, NaNs or extreme values differ."""
    extreme = ~(np.abs(want) < 1e30)  # NaN, infinity, and the -FLT_MAX of empty windows
    if got.shape != want.shape or not np.array_equal(got[extreme], want[extreme], equal_nan=True):
        return float("inf")
    difference = np.abs(got - want)[~extreme].max(initial=0)
    scale = np.abs(want)[~extreme].max(initial=0)
    return float(difference / scale) if scale else float("inf" if difference else 0)


def computed(case: Case, net: CaffeNet) -> dict[str, Array]:
    """What we get for every recorded blob (out:) and gradient of an input (indiff:)."""
    inputs = {k: torch.from_numpy(v).requires_grad_() for k, v in case.recorded("in:").items()}
    outputs = net.forward(inputs, list(case.recorded("out:")))
    got = {f"out:{blob}": value.detach().numpy() for blob, value in outputs.items()}
    if case.recorded("indiff:"):
        loss = sum(0 * x.sum() for x in inputs.values())  # so that each has a gradient
        for blob, gradient in case.recorded("topdiff:").items():
            loss = loss + (outputs[blob] * torch.from_numpy(gradient)).sum()
        gradients = torch.autograd.grad(loss, list(inputs.values()))
        got |= {f"indiff:{k}": g.numpy() for k, g in zip(inputs, gradients, strict=True)}
    return got


def errors(case: Case, net: CaffeNet) -> dict[str, float]:
    """The relative error of each, to the mathematically right value where Caffe has another."""
    return {
        key: relative_error(value, case.arrays.get(f"true{key}", case.arrays[key]))
        for key, value in computed(case, net).items()
        if (case.name, key) not in UNLIKE_CAFFE
    }


@pytest.mark.filterwarnings("ignore:.* has no weights for c2")  # of fmtmissingweights
@pytest.mark.parametrize("case", parameters(refused=False))
def test_blobs_and_gradients_are_those_of_caffe(case: Case) -> None:
    net = case.load()
    found = errors(case, net)
    assert {k: e for k, e in found.items() if not e <= case.facts["rtol_advice"]} == {}
    assert any(key.startswith("out:") for key in found)
    assert list(net.blobs) == case.facts["blob_order"]


@pytest.mark.parametrize("case", parameters(refused=True))
def test_what_caffe_refuses_is_refused_in_one_line(case: Case) -> None:
    assert refusal(case.load)


def main() -> None:
    """Print cases, passes and the worst relative error of every group."""
    table: dict[str, list[tuple[bool, float]]] = {}
    for case in cases(next(f for f in reversed(FOLDERS.values()) if f.exists())):
        try:
            worst = max(errors(case, case.load()).values())
            outcome = not case.refused and worst <= case.facts["rtol_advice"], worst
        except UserError:
            outcome = case.refused, 0.0
        table.setdefault(case.facts["group"], []).append(outcome)
    print(f"{'group':24} cases passed worst error")
    for group, outcomes in [*table.items(), ("all", [o for row in table.values() for o in row])]:
        passed, found = zip(*outcomes, strict=True)
        print(f"{group:24} {len(passed):5} {sum(passed):6} {max(found):11.1e}")


if __name__ == "__main__":
    warnings.simplefilter("ignore", UserWarning)
    main()
