"""The zoo: published nets by name, and their weights."""

from cnnpref.nets.zoo.registry import Entry, find, read_zoo
from cnnpref.nets.zoo.weights import cache_folder, fetch, weights_path

__all__ = ["Entry", "cache_folder", "fetch", "find", "read_zoo", "weights_path"]
