"""Any PyTorch module, as it is, as a net."""

from cnnpref.nets.pytorch.load import load_torch
from cnnpref.nets.pytorch.net import TorchNet

__all__ = ["TorchNet", "load_torch"]
