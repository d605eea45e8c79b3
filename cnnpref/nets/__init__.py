"""Networks: the contract, and what makes one."""

from cnnpref.nets.net import Net
from cnnpref.nets.source import NetDescription, describe, open_net

__all__ = ["Net", "NetDescription", "describe", "open_net"]
