"""The command line that the benchmark's scripts share."""

from __future__ import annotations

import os
import re
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from pathlib import Path

import torch
from cases import Case, cases

from cnnpref.errors import UserError


def asked(about: str | None) -> tuple[list[Case], Namespace]:
    """The cases that the command line asks for, and its other options; sets the threads."""
    parser = ArgumentParser(description=about, formatter_class=RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--only", default="", metavar="REGEX", help="matched with METHOD/LAYER@NET")
    add("--threads", type=int, default=os.cpu_count(), help="of the processor; all if not given")
    add("--batch", type=int, default=64, help="most units that ours takes at once")
    add("--device", default="cpu", help="cpu or cuda")
    add("--repeat", type=int, default=3, help="runs of which the median counts")
    add("--lucent", type=Path, metavar="FOLDER", help="where torch-lucent is installed")
    add("--project", action="store_true", help="also how long all of AlexNet takes; cuda does so")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    chosen = [case for case in cases(given.device) if re.match(given.only, case.name)]
    return [case for case in chosen if is_known(case)], given


def is_known(case: Case) -> bool:
    """Whether this cnnpref has the case's options."""
    try:
        case.options()
    except UserError:
        return False
    return True
