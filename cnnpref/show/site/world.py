"""What natural images do to a unit, on its page."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from cnnpref.planning.files import NATURAL
from cnnpref.show.site.charts import HistogramChart, histogram
from cnnpref.show.site.material import Material
from cnnpref.show.site.numbers import figure
from cnnpref.show.site.references import Favourite, References
from cnnpref.show.site.store import Store, digest
from cnnpref.show.site.templating import address


class World:
    """The reference images of a layer's units; their crops are written as they are asked for.

    Args:
        material: of the layer.
        page: of a unit.
        store: for the crops.
    """

    def __init__(self, material: Material, page: Path, store: Store) -> None:
        self._material, self._page, self._store = material, page, store
        self._folder = material.plan.path(NATURAL, material.layer)

    def of(self, unit: int) -> dict[str, Any]:
        """What the page of a unit shows."""
        references = self._material.references
        if references is None or unit not in references:
            return {"absent": True}
        known: dict[str, Any] = {"absent": False, "count": references.count}
        if references.is_dead(unit):
            return {**known, "dead": True, "best": figure(references.best(unit))}
        marks = self._marks(unit) if references.is_comparable else {}
        chart = histogram(references.histogram(unit), marks)
        return {
            **known,
            "dead": False,
            "sums": not references.is_comparable,
            "chart": chart,
            "words": _words(references, unit, chart),
            "favourites": [
                self._image(unit, f"t{place}", image, figure(image.activation))
                for place, image in enumerate(references.favourites(unit))
            ],
            "quantiles": [
                self._image(unit, f"q{place}", image, f"{q:.0%} · {figure(image.activation)}")
                for place, (q, image) in enumerate(references.quantiles(unit))
            ],
        }

    def _marks(self, unit: int) -> dict[str, float]:
        runs = self._material.firsts
        scores = {method: run.scores.get("activation", {}) for method, run in runs.items()}
        return {method: column[unit] for method, column in scores.items() if unit in column}

    def _image(self, unit: int, place: str, image: Favourite, caption: str) -> dict[str, Any]:
        url = None
        if image.crop is not None:
            path = self._folder / f"{unit}-{place}{image.suffix}"
            self._store.put(path, digest(image.crop), partial(bytes, image.crop))
            url = address(path, self._page)
        alt = f"{image.name}, activation {figure(image.activation)}"
        return {"url": url, "name": image.name, "alt": alt, "caption": caption}


def _words(references: References, unit: int, chart: HistogramChart) -> str:
    """The histogram in a sentence."""
    marks = "; ".join(mark.label for mark in chart.marks)
    return (
        f"Histogram of the highest activation by each of {references.count:,} reference images:"
        f" {chart.best.label}, median of all places {figure(references.median(unit))}"
        f"{f'; made pictures: {marks}' if marks else ''}"
    )
