"""Networks: the contract, and what makes one."""

from cnnpref.nets.net import Net
from cnnpref.nets.section import (
    NetDescription,
    describe,
    fetched_sha256,
    open_net,
    published_weights,
    with_zoo_files,
    without_fetching,
)

__all__ = [
    "Net",
    "NetDescription",
    "describe",
    "fetched_sha256",
    "open_net",
    "published_weights",
    "with_zoo_files",
    "without_fetching",
]
