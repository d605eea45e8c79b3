"""The command line. Modules that need torch are imported by the commands that need them."""

from __future__ import annotations

import logging
import sys
import warnings
from typing import Any

import click

from cnnpref.commands import export, look, make, nets, references, runs, scores, zoo
from cnnpref.errors import UserError
from cnnpref.interruption import InterruptedWork, ending_on_signals


class _Cli(click.Group):
    """Prints what the user can fix as one line, and that a signal came."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with ending_on_signals():
                return super().invoke(ctx)
        except UserError as error:
            click.echo(f"cnnpref: {error}", err=True)
            ctx.exit(1)
        except InterruptedWork as signal:
            click.echo(f"cnnpref: {signal}", err=True)
            ctx.exit(signal.code)


@click.group(cls=_Cli, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="cnnpref")
def main() -> None:
    """For every unit of a CNN, the image it prefers."""
    log = logging.getLogger("cnnpref")
    log.setLevel(logging.INFO)
    log.handlers = [logging.StreamHandler(sys.stderr)]
    warnings.showwarning = lambda message, *_: log.warning("warning: %s", message)


for command in (
    *(make.generate, make.collect, make.pack),
    *(make.sheet, make.pages, make.gallery, make.share),
    *(references.references, references.merge_references),
    *(references.reference_images, references.nature),
    *(scores.scores, scores.join_scores),
    *(runs.plan, runs.check, runs.clean, export.export),
    *(nets.info, nets.act_range, zoo.nets, zoo.fetch),
    *(look.look, look.init),
):
    main.add_command(command)
