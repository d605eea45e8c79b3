"""Nets that live in pycaffe."""

from cnnpref.nets.pycaffe.net import AnyNet, PycaffeNet, as_net, load_pycaffe

__all__ = ["AnyNet", "PycaffeNet", "as_net", "load_pycaffe"]
