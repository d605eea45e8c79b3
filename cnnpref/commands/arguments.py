"""What commands have in common: the config, which part of it is meant, devices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from cnnpref.planning.config import read_config
from cnnpref.planning.plan import Plan, make_plan

Command = TypeVar("Command", bound=Callable[..., Any])
THREADS = click.IntRange(1, 1024)  # of more, torch makes them all or ends the process


def read_plan(source: str) -> Plan:
    """The plan of a config: of the path of a YAML file, or of a JSON object.

    Raises:
        UserError: the config or its nets cannot be read.
    """
    from cnnpref.nets import describe

    return make_plan(read_config(source), describe)


def config_option(command: Command) -> Command:
    """`--config`, and no working command without it."""
    text = "Path of a YAML file, or the config itself as a JSON object."
    return click.option("--config", required=True, metavar="PATH|JSON", help=text)(command)


def layer_option(command: Command) -> Command:
    """`--layer`."""
    return click.option("--layer", help="Only this layer of the config.")(command)


def method_option(command: Command) -> Command:
    """`--method`."""
    return click.option("--method", help="Only this method, such as gd or gd-seed1.")(command)


def device_option(command: Command) -> Command:
    """`--device`, of jobs."""
    text = (
        "auto, cpu, cuda, cuda:N or mps; auto is a CUDA GPU that no other job has, or else the CPU."
    )
    return click.option("--device", default="auto", show_default=True, help=text)(command)


def threads_option(command: Command) -> Command:
    """`--threads`, of jobs."""
    text = "CPU threads; default: torch's choice."
    return click.option("--threads", type=THREADS, help=text)(command)
