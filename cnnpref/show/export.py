"""Images of a layer file in formats of other programs, and a table of them."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.lib.format import open_memmap

from cnnpref.atomic import replacing
from cnnpref.errors import UserError
from cnnpref.results.layer_file import MethodData, Row
from cnnpref.results.scores import Scores
from cnnpref.show.tiles import picture

COLUMNS = (
    *("layer", "unit", "label", "method", "key", "seed", "status", "activation"),
    *("activation_best", "file", "index"),
)
_WEBP_QUALITY = 90


@dataclass(frozen=True)
class Export:
    """What to write, and where.

    Attributes:
        kind: "png", "webp", "npy", "mat" or "h5".
        images: "image" or "image_best".
        alpha: pictures are transparent where a pixel did not matter.
        out: the folder.
    """

    kind: str
    images: str
    alpha: bool
    out: Path

    def write(
        self, methods: Mapping[str, MethodData], name: str, place: Path, scores: Scores | None
    ) -> list[dict[str, Any]]:
        """Write the units of a method.

        Args:
            methods: of an open layer file.
            name: of the method among them.
            place: its folder, or its file without the suffix, below `out`.
            scores: of the layer's units, if there are any.

        Returns:
            A line of the table for each unit.

        Raises:
            UserError: there is no such method, or the operating system refused to write.
        """
        if name not in methods:
            raise UserError(f"no method {name!r} in the layer file; run 'cnnpref collect' again")
        data = methods[name]
        rows = data.rows()
        files = _WRITERS[self.kind](self, data, rows, place)
        return [
            {**_told(data, row, scores), "file": file, "index": index}
            for row, (file, index) in zip(rows, files, strict=True)
        ]

    def pictures(self, data: MethodData, rows: Sequence[Row], place: Path) -> Iterator[_File]:
        """A picture for each unit that has one."""
        for index, row in enumerate(rows):
            file = place / f"{row.unit}.{self.kind}"
            if not row.status.failed:
                shown = picture(data, index, self.images, self.alpha)
                with replacing(self.out / file) as temporary:
                    options = {"quality": _WEBP_QUALITY} if self.kind == "webp" else {}
                    shown.save(temporary, format=self.kind.upper(), **options)
            yield ("" if row.status.failed else file.as_posix()), ""

    def matlab(self, data: MethodData, rows: Sequence[Row], place: Path) -> Iterator[_File]:
        """A .mat for each unit: `img`, `activation`, and what is known of it."""
        from scipy.io import savemat

        for index, row in enumerate(rows):
            file = place / f"{row.unit}.mat"
            arrays = {"img": data.read(self.images, index), "trace": row.activation}
            content = {**arrays, **_told(data, row, None)}
            with replacing(self.out / file) as temporary, temporary.open("wb") as output:
                savemat(output, content, do_compression=True)
            yield file.as_posix(), ""

    def numpy(self, data: MethodData, rows: Sequence[Row], place: Path) -> Iterator[_File]:
        """One .npy of all units, (U, H, W, C)."""
        file = place.with_name(f"{place.name}.npy")
        with replacing(self.out / file) as temporary:
            shape = (len(rows), *data.read(self.images, 0).shape)
            stack = open_memmap(temporary, "w+", np.float32, shape)
            for index in range(len(rows)):
                stack[index] = data.read(self.images, index)
            stack.flush()
        return ((file.as_posix(), str(index)) for index in range(len(rows)))

    def hdf5(self, data: MethodData, rows: Sequence[Row], place: Path) -> Iterator[_File]:
        """One HDF5 file: the method's group of the layer file, as `results/README.md` has it."""
        file = place.with_name(f"{place.name}.h5")
        with replacing(self.out / file) as temporary, h5py.File(temporary, "w") as output:
            data.copy(output)
        return ((file.as_posix(), str(index)) for index in range(len(rows)))


_File = tuple[str, str]  # a file below the folder, and the row in it where it is one of several
_WRITERS: dict[str, Callable[[Export, MethodData, Sequence[Row], Path], Iterator[_File]]] = {
    "png": Export.pictures,
    "webp": Export.pictures,
    "mat": Export.matlab,
    "npy": Export.numpy,
    "h5": Export.hdf5,
}


def _told(data: MethodData, row: Row, scores: Scores | None) -> dict[str, Any]:
    """A line of the table."""
    about = data.attributes
    key = about["digest"][:8]
    told = {
        "layer": about["layer"],
        "unit": row.unit,
        "label": row.label,
        "method": about["method"],
        "key": key,
        "seed": row.seed,
        "status": str(row.status),
        "activation": row.score,
        "activation_best": row.score_best,
    }
    return {**told, **(scores.of(key, row.unit) if scores else {})}


def write_table(folder: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write units.csv: a line for each unit, with the scores that any of them has at its end.

    Raises:
        UserError: the operating system refused to write.
    """
    path = folder / "units.csv"
    names = dict.fromkeys((*COLUMNS, *(name for row in rows for name in row)))
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as output:
        table = csv.DictWriter(output, list(names), restval="")
        table.writeheader()
        table.writerows(rows)
    return path
