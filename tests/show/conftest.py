"""A made-up run with its gallery, for the tests of its pages."""

from __future__ import annotations

import pytest
from gallery_runs import AWKWARD, LABELS, Layer, make_pages, make_results

from cnnpref.planning.plan import Plan

CLASSES = 26
FAILED = {
    **{(4, method): "zero-gradient" for method in ("spectral", "gd")},
    (7, "gd"): "stuck",
}
LAYERS = (
    Layer("conv1", range(3), (8, 8, 15, 15), references=True, position="all"),
    Layer(AWKWARD, (0, 2, 5), (2, 3, 20, 21), failed={(2, "gd"): "diverged"}),
    Layer(
        "fc8",
        range(CLASSES),
        None,
        (LABELS * 6)[:CLASSES],
        FAILED,
        dead=[4],
        references=True,
        scores=True,
    ),
)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """A run of three layers by two methods, one of them with two seeds; nobody changes it.

    conv1 has references of other sums; the middle one an awkward name and no references; fc8
    labels, references, scores, a dead unit (4) and one that is stuck by gd (7).
    """
    run = tmp_path_factory.mktemp("site") / "my_run"
    seeds = {"spectral": 2}
    plan = make_results(run, LAYERS, ("spectral", "gd"), side=24, seeds=seeds, frames=2)
    return make_pages(plan)
