"""Any PyTorch module, as it is, as a net."""

from cnnpref.nets.pytorch.net import TorchNet, load_torch

__all__ = ["TorchNet", "load_torch"]
