"""What tests of the ascent share: small nets of random weights."""

from __future__ import annotations

import pytest
from small import random_generator, random_net

from cnnpref.ascent.variables import Generator
from cnnpref.nets.caffe import CaffeNet


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> CaffeNet:
    return random_net(tmp_path_factory.mktemp("net"))


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Generator:
    return random_generator(tmp_path_factory.mktemp("generator"))
