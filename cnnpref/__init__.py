"""cnnpref: for every unit of a convolutional network, the image it prefers."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import Any

__version__ = version("cnnpref")

# Where the public names live: imported on first use, so that commands which need no PyTorch
# start without it.
_PUBLIC = {
    "DgnGdOptions": "cnnpref.methods",
    "DgnLbfgsOptions": "cnnpref.methods",
    "GdOptions": "cnnpref.methods",
    "Generator": "cnnpref.ascent.variables",
    "InputSpace": "cnnpref.input_space",
    "LbfgsOptions": "cnnpref.methods",
    "Judge": "cnnpref.scoring.others",
    "LayerReferences": "cnnpref.statistics.layer",
    "Moment": "cnnpref.ascent.task",
    "NaturalStatistics": "cnnpref.ascent.statistics",
    "Nature": "cnnpref.statistics.nature",
    "Net": "cnnpref.nets.net",
    "Objective": "cnnpref.ascent.objective",
    "Solution": "cnnpref.ascent.solution",
    "Status": "cnnpref.status",
    "UserError": "cnnpref.errors",
    "load_caffe": "cnnpref.nets.caffe",
    "load_pycaffe": "cnnpref.nets.pycaffe",
    "load_torch": "cnnpref.nets.pytorch",
    "maximise": "cnnpref.maximisation",
    "nature": "cnnpref.statistics.collect",
    "references": "cnnpref.statistics.collect",
    "resolve": "cnnpref.methods",
    "score": "cnnpref.scoring.score",
}
__all__ = ["__version__", *sorted(_PUBLIC)]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'cnnpref' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return __all__
