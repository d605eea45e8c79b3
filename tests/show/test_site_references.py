"""Files of references that the gallery cannot draw."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest
from basics import refusal

from cnnpref.errors import UserError
from cnnpref.planning.files import REFERENCE
from cnnpref.planning.plan import Plan
from cnnpref.show.site.references import open_references

UNDRAWN: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "histogram_max: a unit of no image": ("histogram_max", lambda counts: counts * 0),
    "edges_max are 64, of 64 bins": ("edges_max", lambda edges: edges[:, 1:]),
}


@pytest.mark.parametrize("told", UNDRAWN)
def test_references_whose_histograms_cannot_be_drawn(told: str, site: Plan, tmp_path: Path) -> None:
    shutil.copy(site.path(REFERENCE, "fc8"), tmp_path / "a.h5")
    name, change = UNDRAWN[told]
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        changed = change(file[name][()])
        del file[name]
        file[name] = changed
    with pytest.raises(UserError, match=told), open_references(tmp_path / "a.h5", "center"):
        pass


def test_images_whose_names_cannot_be_read(site: Plan, tmp_path: Path) -> None:
    """They are read as they are shown: the file is open by then."""
    path = tmp_path / "a.h5"
    path.write_bytes(site.path(REFERENCE, "fc8").read_bytes().replace(b"GCOL", b"COAL"))
    told = f"{path}: truncated, damaged or not HDF5; delete it and make the references again"
    with open_references(path, "center") as found:
        assert found
        assert refusal(found.favourites, 0) == told
