"""The pages of the units of a layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cnnpref.planning.files import LAYER, PAGE, PNG, TILES, UNIT_PAGE
from cnnpref.show.site.alike import alike
from cnnpref.show.site.charts import Traces, traces
from cnnpref.show.site.material import Material, Run
from cnnpref.show.site.numbers import figure, times
from cnnpref.show.site.ranks import Ranks
from cnnpref.show.site.store import Store
from cnnpref.show.site.templating import address, render
from cnnpref.show.site.tiles import FILM, FRAME, LARGE, THUMB, WEIGHED, Facts, FactsOf
from cnnpref.show.site.words import REASONS, lead, options_of, tried
from cnnpref.show.site.world import World

MOST_SEEDS = 24  # whose pictures are on a page


class UnitPages:
    """The pages of the units of a layer.

    Args:
        material: of the layer.
        facts: by the name of a series.
    """

    def __init__(self, material: Material, facts: Mapping[str, FactsOf]) -> None:
        plan, layer = material.plan, material.layer
        self._material, self._facts = material, facts
        self._ranks = Ranks(material)
        self._here = plan.path(UNIT_PAGE, layer, unit=0)  # as deep as any
        self._folders = {name: address(plan.path(TILES, layer, name), self._here) for name in facts}
        self._page = address(plan.path(PAGE, layer), self._here)
        self._data = address(plan.path(LAYER, layer), self._here)

    def write(self, store: Store) -> None:
        """Write those that changed."""
        plan, layer, units = self._material.plan, self._material.layer, self._material.units
        world = World(self._material, self._here, store)
        for before, unit, after in zip((None, *units[:-1]), units, (*units[1:], None), strict=True):
            text = self._render(unit, before, after, world)
            store.put_text(plan.path(UNIT_PAGE, layer, unit=unit), text)

    def _render(self, unit: int, before: int | None, after: int | None, world: World) -> str:
        material = self._material
        columns, drawn = self._columns(unit)
        pictures = [picture for column in columns for picture in column["pictures"]]
        top, left, bottom, right = next(iter(material.firsts.values())).rows[unit].receptive_field
        any_picture = any(not picture["failed"] for picture in pictures)
        any_importance = any(picture["importance"] for picture in pictures)
        return render(
            "unit.html",
            kind="unit",
            root="../../",
            run=material.plan.folder.name,
            layer=material.layer,
            page=self._page,
            unit=unit,
            label=material.labels.get(unit, ""),
            before=before,
            after=after,
            lead=lead(material, unit),
            width=material.size[1],
            height=material.size[0],
            box=(top, left, bottom - top, right - left),
            has_field=not material.sees_all and bottom > top and right > left,
            any_picture=any_picture,
            any_importance=any_importance,
            hints=self._hints(columns, any_importance),
            columns=columns,
            most_seeds=max(len(column["pictures"]) for column in columns),
            zero=drawn.zero,
            reference=drawn.reference,
            rises=[rise for column in columns if (rise := self._rise(unit, column["method"]))],
            world=world.of(unit),
            scores=self._ranks.table(unit, [column["method"] for column in columns]),
            alike=self._similar(unit),
            files=self._files(unit, columns),
            provenance=self._provenance(unit),
        )

    def _columns(self, unit: int) -> tuple[list[dict[str, Any]], Traces]:
        """One for each method, the strongest first, and what its trace is drawn on."""
        material, references = self._material, self._material.references
        known = references if references and unit in references else None
        drawn = traces(
            {method: run.rows[unit].activation for method, run in material.firsts.items()},
            known.best(unit) if known and not known.is_dead(unit) else None,
            material.sign,
        )
        columns = [
            self._column(unit, method, runs, drawn) for method, runs in material.methods.items()
        ]
        return sorted(columns, key=lambda column: -column["height"]), drawn

    def _column(self, unit: int, method: str, runs: list[Run], drawn: Traces) -> dict[str, Any]:
        row, scores = runs[0].rows[unit], runs[0].scores
        trace = drawn.traces.get(method)
        gain = scores.get("gain", {}).get(unit)
        return {
            "method": method,
            "key": runs[0].series.digest[:8],
            "pictures": [self._picture(unit, run) for run in runs[:MOST_SEEDS]],
            "activation": "" if row.status.failed else figure(row.score),
            "gain": "" if gain is None else times(gain),
            "height": float("-inf") if row.status.failed else self._material.sign * row.score,
            "count": len(row.activation),
            "trace": None if row.status.failed else trace,
            "trace_words": trace
            and f"Activation by {method} over {trace.count} evaluations: from"
            f" {figure(float(row.activation[0]))} to {figure(row.score)}, best"
            f" {figure(trace.best)} at {trace.best_step}",
        }

    def _picture(self, unit: int, run: Run) -> dict[str, Any]:
        material, row = self._material, run.rows[unit]
        folder, facts = self._folders[run.name], self._facts[run.name][unit]
        label = material.labels.get(unit)
        told = f"{material.layer} unit {unit}{f', {label}' if label else ''}, by {run.name}"
        return {
            "seed": row.seed,
            "failed": str(row.status) if row.status.failed else "",
            "tried": tried(facts.attributes, row),
            "png": address(run.series.path(unit).with_suffix(_PNG), self._here),
            "large": f"{folder}/{LARGE.format(unit)}",
            "thumb": f"{folder}/{THUMB.format(unit)}",
            "importance": facts.has_importance and f"{folder}/{WEIGHED.format(unit)}",
            "alt": f"{told}, activation {figure(row.score)}",
        }

    def _hints(self, columns: list[dict[str, Any]], any_importance: bool) -> list[str]:
        hints = []
        if self._material.sees_all:
            hints.append("the receptive field is the whole image")
        if not any_importance:
            hints.append("importance was not recorded")
        methods = self._material.methods
        stretched = [
            c["method"] for c in columns if methods[c["method"]][0].series.how.is_stretched
        ]
        if stretched:
            hints.append(f"contrast stretched: {', '.join(stretched)}")
        return hints

    def _rise(self, unit: int, method: str) -> dict[str, Any] | None:
        run = self._material.firsts[method]
        facts, folder = self._facts[run.name][unit], self._folders[run.name]
        if not facts.frames:
            return None
        return {
            "method": method,
            "film": f"{folder}/{FILM.format(unit)}",
            "frames": [
                {"step": step, "url": f"{folder}/{FRAME.format(unit, place)}"}
                for place, step in enumerate(facts.frames)
            ],
        }

    def _similar(self, unit: int) -> dict[str, Any]:
        material = self._material
        first, like = next(iter(material.firsts.values())), alike(material, unit)
        folder, failed = self._folders[first.name], first.failed()
        return {
            "title": like.title,
            "about": like.about,
            "sign": like.sign,
            "units": [
                {
                    "unit": other,
                    "r": f"{r:.2f}".replace("-", "−"),
                    "label": material.labels.get(other, ""),
                    "status": failed.get(other),
                    "thumb": None if other in failed else f"{folder}/{THUMB.format(other)}",
                }
                for other, r in like.units
            ],
        }

    def _files(
        self, unit: int, columns: list[dict[str, Any]]
    ) -> list[tuple[str, list[tuple[str, str]]]]:
        """The file with the numbers and the full-size picture, of each method."""
        found = []
        for method in (column["method"] for column in columns):
            run = self._material.firsts[method]
            path = run.series.path(unit)
            if run.data.is_packed:
                links = [("layer file (HDF5)", self._data)]
            else:
                links = [("unit file (HDF5)", address(path, self._here))]
            if not run.rows[unit].status.failed:
                links.append(("full-size PNG", address(path.with_suffix(_PNG), self._here)))
            found.append((method if len(columns) > 1 else "", links))
        return found

    def _provenance(self, unit: int) -> list[dict[str, Any]]:
        return [
            {"title": run.name, "facts": self._told(run, unit, self._facts[run.name][unit])}
            for runs in self._material.methods.values()
            for run in runs[:MOST_SEEDS]
        ]

    def _told(self, run: Run, unit: int, facts: Facts) -> list[tuple[str, str]]:
        series, row, attributes = run.series, run.rows[unit], facts.attributes
        versions = ", ".join(f"{name} {number}" for name, number in attributes["versions"].items())
        return [
            (
                "status",
                f"{row.status}: {REASONS[row.status]}" if row.status in REASONS else row.status,
            ),
            ("net, layer, position", f"{self._material.net}, {series.layer}, {series.position}"),
            ("seed", str(row.seed)),
            ("key", series.digest[:8]),
            ("digest", series.digest),
            ("activation", f"last {figure(row.score)}, best {figure(row.score_best)}"),
            ("made in", f"{float(attributes['seconds']):.3g} s on {attributes['device']}"),
            ("versions", versions),
            ("options", options_of(series.options)),
        ]


_PNG = PNG.path[PNG.path.rindex(".") :]
