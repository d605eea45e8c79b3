"""Networks: the contract, and what makes one."""

from cnnpref.nets.net import Net
from cnnpref.nets.section import (
    NetDescription,
    at_hand,
    complete,
    describe,
    fetched_sha256,
    open_net,
    zoo_weights,
)

__all__ = [
    "Net",
    "NetDescription",
    "at_hand",
    "complete",
    "describe",
    "fetched_sha256",
    "open_net",
    "zoo_weights",
]
