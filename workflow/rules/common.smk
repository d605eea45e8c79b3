# The plan of this run: what there is to do follows from the config and the net's files alone.
import gc
import json
import re
import shlex
import sys
from functools import cache
from pathlib import Path

from cnnpref.planning.config import resolve_config
from cnnpref.errors import UserError
from cnnpref.planning.estimate import memory_mb, runtime_minutes
from cnnpref.results.discard import discard_damaged
from cnnpref.nets import describe, zoo_weights
from cnnpref.planning.outlook import outlook, summary
from cnnpref.planning.plan import make_plan
from cnnpref.planning.series import Batch, unescape

try:
    settings = resolve_config(config, Path(["run", *workflow.configfiles][-1]).stem)
    plan = make_plan(settings, describe)
    sections = {name: settings[name] for name in ("net", "generator") if name in settings}
    weights = {name: path for name in sections if (path := zoo_weights(sections[name]))}
except UserError as error:
    sys.exit(f"cnnpref: {error}")

# The jobs of ten thousands of units are no garbage: to look for some among them takes time.
gc.set_threshold(100_000, 50, 100)

# Each job gets the config as it was read here, whatever becomes of the file in the meantime.
CONFIG = json.dumps(settings)

# Jobs find the cnnpref that is installed beside snakemake, also where it is not on the PATH.
shell.prefix(f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH; ")


wildcard_constraints:
    layer="[^/]+",
    method="[^/-]+",
    key="[0-9a-f]{8}",
    unit="[0-9]+",


# What the zoo is to fetch: the file of weights of a section, and the net's name in the zoo.
names_of_weights = {path.name: sections[section]["zoo"] for section, path in weights.items()}


def weights_for(series):
    """What a series needs of them: wanted as ancient(), for it does not matter when they came."""
    return [str(weights[section]) for section in series.origin if section in weights]


def folder_of(wildcards):
    """The name of the folder of a series' unit files."""
    return f"{wildcards.method}-{wildcards.key}"


def runs_jobs():
    """Whether this process will: not in a dry run, for a report, or as one of the jobs."""
    runs = workflow.is_main_process and workflow.executor_plugin is not None
    return runs and not (workflow.dryrun or workflow.touch)


@cache
def mend():
    """Once, before Snakemake looks which files are there."""
    for warning in discard_damaged(plan) if runs_jobs() else []:
        print(warning, file=sys.stderr)


def unit_files(layer):
    """Those of a layer, as inputs; what is there is whole."""
    mend()
    return [str(path) for series in plan.select(layer) for path in series.paths()]


def lost_units():
    """Unit files that are missing though their layer's file is there: no other rule wants them."""
    mend()
    return [
        str(share.series.path(unit))
        for share in outlook(plan)
        if plan.layer_file(share.series.layer).exists()
        for unit in share.missing
    ]


def labels_of(method):
    """How a report names a contact sheet of a layer."""
    return lambda wildcards: {"layer": unescape(wildcards.layer), "method": method}
