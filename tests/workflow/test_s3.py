"""Without a shared file system: results in S3, here of a server on this machine, and `batch: 1`."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
from local_slurm import free_ports, wait_until
from running import Config, Project

from cnnpref.results.layer_file import open_layer

lacking = [name for name in ("moto", "flask", "snakemake_storage_plugin_s3") if not find_spec(name)]
pytestmark = [
    pytest.mark.workflow,
    pytest.mark.skipif(bool(lacking), reason=f"not installed: {', '.join(lacking)}"),
]


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address):
            return True
    except OSError:
        return False


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[str]:
    """The address of a server, which keeps all in memory."""
    port = str(free_ports(1)[0])
    words = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", port]
    address = f"http://127.0.0.1:{port}"
    with (tmp_path / "s3.log").open("wb") as log:
        server = subprocess.Popen(words, stdout=log, stderr=log)
    try:
        wait_until(lambda: answers(address), "S3")
        yield address
    finally:
        server.kill()
        server.wait()


def test_units_and_what_is_made_of_them_travel_by_s3(
    s3: str, tmp_path: Path, few_units: Config
) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    project = Project(folder, {**few_units, "run": "mine", "batch": 1})
    keys = {f"SNAKEMAKE_STORAGE_S3_{name}_KEY": "any" for name in ("ACCESS", "SECRET")}
    project.environment = {**os.environ, **keys, "NO_PROXY": "127.0.0.1"}
    storage = ["--default-storage-provider", "s3", "--default-storage-prefix", "s3://lab"]
    storage += ["--storage-s3-endpoint-url", s3]
    project.succeed("results/mine/layers/conv1.h5", *storage)
    assert not list(folder.glob("results/**/*.h5"))
    keys = {"aws_access_key_id": "any", "aws_secret_access_key": "any"}
    client = import_module("boto3").client("s3", endpoint_url=s3, region_name="us-east-1", **keys)
    client.download_file("lab", "results/mine/layers/conv1.h5", str(tmp_path / "conv1.h5"))
    with open_layer(tmp_path / "conv1.h5") as methods:
        assert methods["gd"].units() == [0, 1, 2, 3]
    assert "Nothing to be done" in project.succeed("results/mine/layers/conv1.h5", *storage)
