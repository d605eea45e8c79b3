# The plan of this run, which depends on the config and the net's files alone.
import gc
import json
import os
import re
import shlex
import sys
from functools import cache
from pathlib import Path

from cnnpref.errors import UserError
from cnnpref.nets import describe, published_weights
from cnnpref.planning import files
from cnnpref.planning.batches import batches
from cnnpref.planning.config import resolve_config
from cnnpref.planning.estimate import (
    memory_mb,
    reference_memory_mb,
    reference_minutes,
    runtime_minutes,
    score_memory_mb,
    score_minutes,
)
from cnnpref.planning.outlook import outlook, summary
from cnnpref.planning.plan import make_plan
from cnnpref.planning.scoring import scoring_sections
from cnnpref.planning.series import Batch, escape, unescape
from cnnpref.planning.sheets import page_of
from cnnpref.results.discard import discard_damaged
from cnnpref.results.holding import hold
from cnnpref.results.layer_file import packed_units

try:
    settings = resolve_config(config, Path(["run", *workflow.configfiles][-1]).stem)
    plan = make_plan(settings, describe)
    sections = {name: settings[name] for name in plan.nets} | scoring_sections(settings)
    found = {name: published_weights(section) for name, section in sections.items()}
    weights = {name: file.path for name, file in found.items() if file}
except UserError as error:
    sys.exit(f"cnnpref: {error}")

# Tens of thousands of job objects live to the end: collect garbage less often.
gc.set_threshold(100_000, 50, 100)

# Each job gets the config as it was read here, even if the file changes in the meantime. By a
# function: in a string Snakemake takes braces for wildcards.
CONFIG = json.dumps(settings)


def as_read(wildcards, output):
    """The config for a job; where storage is elsewhere, its files are in a local copy of that."""
    root, found, _ = str(output[0]).partition(str(plan.folder))
    if not root or not found:
        return CONFIG
    return json.dumps({**settings, "results": root + settings["results"]})


# Jobs use the cnnpref that is installed with snakemake, even if it is not on the PATH; with
# `--sdm conda` or `--sdm apptainer` that of their own environment.
deployed = {method.name for method in workflow.deployment_settings.deployment_method}
if not deployed & {"CONDA", "APPTAINER"}:
    shell.prefix(f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH; ")
elif "CONDA" in deployed:  # environment.post-deploy.sh installs the package from there
    os.environ.update(CNNPREF_SOURCE=str(Path(workflow.basedir).parent))
elif not Path(IMAGE).exists():
    definition = Path(IMAGE).with_suffix(".def")
    sys.exit(f"cnnpref: there is no {IMAGE}; build it: apptainer build {IMAGE} {definition}")


wildcard_constraints:
    layer="[^/]+",
    method="[^/-]+",
    key="[0-9a-f]{8}",
    unit="[0-9]+",
    shard="[0-9]+-[0-9a-f]{8}",


def below(pattern):
    """A pattern of `planning/files.py` as a path, its fields as wildcards."""
    return f"{plan.folder}/{pattern}"


def paths(kinds, layer=None):
    """The files of these kinds, of a layer or of the run, without damaged unit files."""
    discard_damaged_files()
    return [str(path) for path in plan.paths(kinds, layer)]


def lost_units():
    """Missing unit files of layers whose layer file exists: only `all` asks for these.

    It could ask for every unit file, but for 42,000 of them that takes Snakemake 6 s more.
    """
    discard_damaged_files()
    return [
        str(share.series.path(unit))
        for share in outlook(plan, packed_units)
        if plan.path(files.LAYER, share.series.layer).exists()
        for unit in share.missing
    ]


def weights_for(series):
    """The files of published weights that a series needs."""
    return [str(weights[section]) for section in series.origin if section in weights]


def needed_for(series):
    """What units need beside the net's files: weights, and what reference images are like."""
    nature = [str(plan.path(files.NATURE))] if series.statistics else []
    return [*weights_for(series), *nature]


def weights_for_scores():
    """The files of published weights that scores need."""
    return [str(path) for name, path in weights.items() if name != "generator"]


def folder_of(wildcards):
    """The name of the folder of a series' unit files."""
    return f"{wildcards.method}-{wildcards.key}"


def runs_jobs():
    """Whether this process runs jobs: not in a dry run, for a report, or as one of the jobs."""
    runs = workflow.is_main_process and workflow.executor_plugin is not None
    return runs and not (workflow.dryrun or workflow.touch)


@cache
def hold_folder():
    """End a second run in the same folder; Snakemake's own lock is that of a working directory."""
    if runs_jobs() and (holder := hold(plan.folder)):
        sys.exit(
            f"cnnpref: {plan.folder}: another run is at work there ({holder}); wait for its end,"
            " or give this one another 'run' or 'results'"
        )


@cache
def discard_damaged_files():
    """Called before Snakemake looks which files exist; works once."""
    hold_folder()
    try:
        warnings = discard_damaged(plan) if runs_jobs() else []
    except UserError as error:
        sys.exit(f"cnnpref: {error}")
    print(*warnings, sep="\n", end="\n" if warnings else "", file=sys.stderr)


def labels_of(layer, method, path):
    """How a report names a page of the contact sheets of a layer, or all its pages as a PDF."""
    labels = {"layer": layer, "method": method, "page": page_of(path)[1]}
    return lambda wildcards: labels
