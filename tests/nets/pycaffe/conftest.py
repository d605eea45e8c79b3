"""What tests of live pycaffe nets share."""

from __future__ import annotations

import pytest
from live_caffe import FORCE, Pair, pair
from small import NET


@pytest.fixture(scope="module")
def small(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """The small net, of the kind that a test's parameter or its module's fixture names."""
    return pair(tmp_path_factory.mktemp("small"), FORCE + NET, kind)
