"""Networks: the contract, and what makes one."""

from cnnpref.nets.net import Net
from cnnpref.nets.section import (
    NetDescription,
    describe,
    fetched_sha256,
    open_net,
    with_zoo_files,
    without_fetching,
    zoo_weights,
)

__all__ = [
    "Net",
    "NetDescription",
    "describe",
    "fetched_sha256",
    "open_net",
    "with_zoo_files",
    "without_fetching",
    "zoo_weights",
]
