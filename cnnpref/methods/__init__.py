"""The methods: one file for each, with its options and how it goes; known by `METHODS`."""

from cnnpref.methods.base import Method
from cnnpref.methods.dgn_gd import DgnGdOptions
from cnnpref.methods.dgn_lbfgs import DgnLbfgsOptions
from cnnpref.methods.gd import GdOptions
from cnnpref.methods.lbfgs import LbfgsOptions
from cnnpref.methods.options import Options, keyed
from cnnpref.methods.registry import METHODS, find_method, options_schema, resolve

__all__ = [
    "METHODS",
    "DgnGdOptions",
    "DgnLbfgsOptions",
    "GdOptions",
    "LbfgsOptions",
    "Method",
    "Options",
    "find_method",
    "keyed",
    "options_schema",
    "resolve",
]
