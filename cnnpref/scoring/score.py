"""Scores of any pictures of units, from Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from cnnpref.errors import UserError
from cnnpref.images.pictures import Bytes
from cnnpref.nets.net import Net
from cnnpref.results.score_file import SCORES, as_table, held_out_columns
from cnnpref.scoring.disturb import eight_bits
from cnnpref.scoring.likeness import diversity
from cnnpref.scoring.natural import Natural
from cnnpref.scoring.others import HeldOut, Judge
from cnnpref.scoring.scorer import Scorer, Scores
from cnnpref.scoring.targets import Targets
from cnnpref.statistics.exact import Doubles
from cnnpref.statistics.layer import LayerReferences
from cnnpref.statistics.nature import Nature
from cnnpref.unit_map import Position

if TYPE_CHECKING:
    from polars import DataFrame

Score = Callable[[Bytes, Sequence[int]], Scores]


def score(
    net: Net,
    images: npt.ArrayLike,
    layer: str,
    units: Sequence[int],
    position: Position = "center",
    *,
    references: LayerReferences | None = None,
    nature: Nature | None = None,
    judge: Judge | None = None,
    held_out: Sequence[Net] = (),
) -> DataFrame:
    """Scores of images of units, each on its own and as saved: rounded to 8 bits.

    Args:
        net: the network.
        images: (N, H, W, C) of the net's image size, on the scale 0..255; RGB where C is 3.
        layer: a name in the net's layers.
        units: for each image the channel that it shows; several images of one have a diversity.
        position: in a layer with a map: "center", (y, x) ..., or "all" for the sum over the map.
        references: what natural images do to the layer, from `cnnpref.references`: for gain, keep
            and selectivity.
        nature: what their pixels are like, from `cnnpref.nature`: for spectrum and colour.
        judge: a second classifier.
        held_out: other nets with that layer, for `eval_0` ...

    Returns:
        A row for each image: its unit, and the scores that `results/README.md` defines; null where
        one cannot be computed.

    Raises:
        UserError: the images are not the net's, or a layer or unit does not exist.
    """
    targets = Targets(net, layer, position)
    pictures = _checked(targets, images, units)
    natural = Natural.of(references, position) if references else None
    scorers: list[Score] = [Scorer(targets, natural, nature)]
    scorers += [judge] if judge else []
    for number, other in enumerate(held_out):
        scorers.append(HeldOut(f"eval_{number}", Targets(other, layer, position)))
    raw = np.asarray(images, np.float32)
    found = {
        "activation": targets.values(raw)[np.arange(len(units)), list(units)],
        "diversity": _diversities(targets, pictures, units),
    }
    rows = [
        {"unit": unit, **{n: x[row] for n, x in found.items()}} for row, unit in enumerate(units)
    ]
    rows = [a | b for a, b in zip(rows, scored(scorers, pictures, units), strict=True)]
    return as_table(rows, {"unit": int, **SCORES, **held_out_columns(len(held_out))})


def scored(
    scorers: Sequence[Score], pictures: Bytes, units: Sequence[int]
) -> list[dict[str, float]]:
    """A row of scores for each picture."""
    found: Scores = {}
    for scorer in scorers:
        found |= scorer(pictures, units)
    return [
        {name: float(values[row]) for name, values in found.items()} for row in range(len(units))
    ]


def _checked(targets: Targets, images: npt.ArrayLike, units: Sequence[int]) -> Bytes:
    net, pictures = targets.net, eight_bits(images)
    shape = (len(units), *net.image_size, net.input_shape[0])
    if pictures.shape != shape:
        raise UserError(
            f"score: got images of shape {pictures.shape}; for {len(units)} units of"
            f" {net.name!r}, {shape} is allowed"
        )
    count = targets.where.count
    if outside := [unit for unit in units if not 0 <= unit < count]:
        raise UserError(
            f"score: layer {targets.layer!r} has {count} units, from 0; got {outside[0]}"
        )
    return pictures


def _diversities(targets: Targets, pictures: Bytes, units: Sequence[int]) -> Doubles:
    """For each picture, that of all pictures of its unit; NaN: it is the only one."""
    found = np.full(len(units), np.nan)
    for unit in dict.fromkeys(units):
        rows = [row for row, other in enumerate(units) if other == unit]
        if len(rows) > 1:
            found[rows] = diversity(targets.seen(pictures[rows]))
    return found
