#!/usr/bin/env bash
# Snakemake runs this in a new environment of `--sdm conda`. The Snakefile tells where it lies itself: a link to that
# checkout, so that the jobs' cnnpref is always the one that planned the run.
set -euo pipefail
pip install --no-deps --editable "${CNNPREF_SOURCE:?is set by workflow/rules/common.smk}"
