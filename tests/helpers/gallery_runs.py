"""Made-up runs for the gallery: pictures in natural colours, references, scores."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import polars
from made_pictures import Painter, natural, picture
from PIL import Image
from planning import description

from cnnpref.atomic import replacing
from cnnpref.methods import METHODS
from cnnpref.planning.files import ALIKE, LAYER, LAYER_SHEET, METHOD_SHEET, REFERENCE, SCORES, UNITS
from cnnpref.planning.plan import Plan
from cnnpref.planning.series import Series, escape
from cnnpref.results.collecting import collect
from cnnpref.results.score_file import ALIKE as ALIKE_COLUMNS
from cnnpref.results.score_file import as_table, write_table
from cnnpref.results.unit_file import UnitResult, write_unit
from cnnpref.show.site.layer import write_layer
from cnnpref.show.site.overview import write_overview
from cnnpref.show.site.share import write_share

AWKWARD = 'fire5/expand<i>3x3</i> "#1"? 50% 🦩'
LABELS = ("flamingo", '<i>tench</i>, "Tinca"', "C# & F# 100 %", "🦩 Phœnicopterus", "")


@dataclass(frozen=True)
class Layer:
    """A layer of a made-up run.

    Attributes:
        field: what its units see, (top, left, bottom, right); None: the whole image.
        failed: by unit and method: a status.
        references: whether there are any; 0 for units that are dead to them.
    """

    name: str
    units: Sequence[int]
    field: tuple[int, int, int, int] | None = None
    labels: tuple[str, ...] = ()
    failed: Mapping[tuple[int, str], str] = dataclasses.field(default_factory=dict)
    dead: Sequence[int] = ()
    references: bool = False
    scores: bool = False
    position: Any = "center"
    sign: int = 1


def _trace(score: float, count: int, seed: int) -> npt.NDArray[np.float32]:
    random = np.random.default_rng(seed)
    rise = 1 / (1 + np.exp(-np.linspace(-4, 5, count)))
    trace = score * rise * (1 + 0.07 * random.normal(size=count))
    trace[-1] = score
    return trace.astype(np.float32)


def _score(unit: int, method: str, seed: int) -> float:
    random = np.random.default_rng((unit, seed, len(method)))
    return float(
        {"spectral": 90, "gd": 35, "lbfgs": 150}.get(method, 60) * random.lognormal(0, 0.3)
    )


def _result(
    layer: Layer, series: Series, unit: int, side: int, frames: int, paint: Painter
) -> tuple[UnitResult, npt.NDArray[np.uint8] | None]:
    status = layer.failed.get((unit, series.method), "ok")
    score = 0.0 if status != "ok" else _score(unit, series.method, series.seed)
    image = paint(side, unit, series.method, series.seed)
    trace = _trace(score, {"lbfgs": 51, "spectral": 96}.get(series.method, 200), unit)
    if status == "diverged":
        trace[-1] = np.nan
    height, width = image.shape[:2]
    y, x = np.mgrid[:height, :width] / side - 0.5
    attempts = {"attempts": 4, "attempts_status": [status] * 3}
    weight = (255 * np.exp(-12 * (x**2 + y**2))).astype(np.uint8)
    attributes = {
        **{"net": "squeezenet", "sha256": {"net": {"prototxt": "ab" * 32}}, "layer": layer.name},
        **{"unit": unit, "position": layer.position, "method": series.method},
        "receptive_field": layer.field or (0, 0, height, width),
        "options": {"steps": len(trace)},
        **{"seed": series.seed, "status": status, "score": score, "score_best": float(trace.max())},
        **{"versions": {"cnnpref": "0.1.0"}, "device": "cpu", "seconds": 0.75, "sign": layer.sign},
        "digest": series.digest,
        **(attempts if status == "stuck" else {}),
    }
    film = None
    if frames and series.method == "spectral":
        start = natural(side, 99)
        mixes = np.linspace(0, 1, frames)[:, None, None, None]
        film = np.clip(start * (1 - mixes) + image * mixes, 0, 255).astype(np.uint8)
    importance = weight if series.method == "spectral" else None
    return UnitResult(image, image, trace, attributes, None, importance), film


def _write(path: Path, result: UnitResult, film: npt.NDArray[np.uint8] | None) -> None:
    write_unit(path, result)
    if film is not None:
        with h5py.File(path, "r+") as file:
            file["frames"] = film
            file["frame_step"] = np.linspace(1, len(result.activation), len(film)).astype(np.int32)


def series_of(run: Path, layer: Layer, method: str, seed: int, first: int = 0) -> Series:
    """The units of a layer by a method and seed."""
    digest = np.random.default_rng([len(method), seed, *method.encode()]).bytes(32).hex()
    name = method if seed == first else f"{method}-seed{seed}"
    folder = Path(str(run / UNITS).format(layer=escape(layer.name), method=method, key=digest[:8]))
    options = METHODS[method].options()
    units = tuple(layer.units)
    return Series(
        layer.name,
        method,
        name,
        units,
        layer.position,
        options,
        seed,
        {},
        digest,
        folder,
        layer.labels,
        layer.sign,
    )


def make_results(
    run: Path,
    layers: Sequence[Layer],
    methods: Sequence[str] = ("spectral", "gd", "lbfgs"),
    *,
    side: int = 48,
    seeds: Mapping[str, int] | None = None,
    frames: int = 0,
    paint: Painter = picture,
) -> Plan:
    """Write the files that a gallery is made of.

    Args:
        run: its folder.
        layers: in the order of the net.
        methods: of all layers.
        side: of an image, in pixels.
        seeds: how many images of a unit a method makes; 1 unless given.
        frames: of the ascent, by the first method.
        paint: makes the pictures.
    """
    known = {layer.name: (max(layer.units) + 1,) for layer in layers}
    between = {f"between{k}": (1,) for k in range(3)}
    net = description({layers[0].name: known[layers[0].name], **between, **known})
    series = [
        series_of(run, layer, method, seed)
        for layer in layers
        for method in methods
        for seed in range((seeds or {}).get(method, 1))
    ]
    plan = Plan({"results": str(run.parent), "run": run.name}, tuple(series), {"net": net})
    by_name = {layer.name: layer for layer in layers}
    for each in series:
        for unit in each.units:
            _write(each.path(unit), *_result(by_name[each.layer], each, unit, side, frames, paint))
    for layer in layers:
        collect(plan.path(LAYER, layer.name), plan.select(layer.name))
        if layer.references:
            write_references(plan, layer, side)
        if layer.scores:
            write_scores(plan, layer)
        if not layer.references:
            write_alike(plan, layer)
        _blank_sheets(plan, layer.name)
    return plan


def _blank_sheets(plan: Plan, layer: str) -> None:
    """Stand-ins: what a page links to is there."""
    paths = [plan.path(LAYER_SHEET, layer)]
    paths += [plan.path(METHOD_SHEET, layer, each.name) for each in plan.select(layer)]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(path)


def make_pages(plan: Plan) -> Plan:
    """Write the whole gallery of a run."""
    for layer in plan.layers:
        write_layer(plan, layer)
    write_overview(plan)
    write_share(plan)
    return plan


def _jpeg(pixels: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    file = BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=85)
    return np.frombuffer(file.getvalue(), np.uint8)


def write_references(plan: Plan, layer: Layer, side: int, images: int = 2088) -> None:
    """A file of references of all units up to the last, with crops; `dead` ones answer to none."""
    random = np.random.default_rng(len(layer.name))
    count = max(layer.units) + 1
    alive = np.isin(np.arange(count), layer.dead, invert=True)
    maxima = np.maximum(random.gamma(1.2, 3.0, (count, images)) - 1, 0) * alive[:, None]
    order = np.argsort(-maxima, axis=1)
    crops = [_jpeg(natural(side, 200 + k)) for k in range(24)]
    quantiles = [0.5, 0.75, 0.9, 0.99]
    path = plan.path(REFERENCE, layer.name)
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs.update({"count": images, "layer": layer.name, "quantiles": quantiles})
        file["images/name"] = [f"photos/n{k:05d}.jpg" for k in range(images)]
        places = {
            "top": order[:, :9],
            "bottom": order[:, ::-1][:, :9],
            "quantile": order[:, [int((1 - q) * images) for q in quantiles]],
        }
        for name, chosen in places.items():
            file[f"{name}/image"] = chosen.astype(np.int32)
            file[f"{name}/activation"] = np.take_along_axis(maxima, chosen, 1).astype(np.float32)
            file[f"{name}/crop"] = (chosen % len(crops)).astype(np.int32)
        data = file.create_dataset("crops", (len(crops),), h5py.vlen_dtype(np.uint8))
        for number, crop in enumerate(crops):
            data[number] = crop
        _write_statistics(file, maxima, random)


def _write_statistics(
    file: h5py.File, maxima: npt.NDArray[np.float64], random: np.random.Generator
) -> None:
    count = len(maxima)
    edges = np.linspace(maxima.min(1), maxima.max(1) + 1e-9, 65, axis=1)
    file["edges_max"] = edges.astype(np.float32)
    file["histogram_max"] = np.array(
        [np.histogram(row, ends)[0] for row, ends in zip(maxima, edges, strict=True)], np.uint64
    )
    for name, values in {
        "max": maxima.max(1),
        "median": 0.3 * np.median(maxima, 1),
        "sd": maxima.std(1),
        "sd_max": maxima.std(1),
        "max_sum": 40 * maxima.max(1),
        "median_sum": 12 * np.median(maxima, 1),
    }.items():
        file[name] = values
    near = np.array([random.permutation(count)[:16] for _ in range(count)], np.int32)
    padded = np.full((count, 16), -1, np.int32)
    padded[:, : near.shape[1]] = near
    padded[maxima.std(1) == 0] = -1  # a constant has no correlation
    file["nearest"] = padded
    file["correlation"] = np.sort(random.uniform(0.3, 0.9, (count, 16)), 1)[:, ::-1].astype("f4")


def write_scores(plan: Plan, layer: Layer) -> None:
    """A table of scores; those of failed units are null."""
    rows = []
    for series in plan.select(layer.name):
        random = np.random.default_rng([series.seed, len(series.name)])
        for unit in series.units:
            status = layer.failed.get((unit, series.method), "ok")
            fine = status == "ok"
            score = _score(unit, series.method, series.seed)
            rows.append(
                {
                    **{"layer": layer.name, "unit": unit, "label": series.label(unit) or None},
                    **{"method": series.method, "key": series.digest[:8], "seed": series.seed},
                    **{"status": status, "activation": score if fine else None},
                    "gain": score / 20 if fine else None,
                    "keep": float(random.uniform(0.6, 1.02)) if fine else None,
                    "spectrum": float(random.uniform(0.5, 4)) if fine else None,
                    "colour": float(random.uniform(0.6, 3)) if fine else None,
                    "selectivity_rank": 1 + unit % 3 if fine else None,
                    **{"diversity": None, "judge_p": None},
                }
            )
    path = plan.path(SCORES, layer.name)
    with replacing(path) as temporary:
        polars.DataFrame(rows, infer_schema_length=None).write_parquet(temporary)


def write_alike(plan: Plan, layer: Layer) -> None:
    """A table of the units with similar weights: the next ones."""
    units = list(layer.units)
    rows = [
        {"unit": unit, "other": units[(place + step) % len(units)], "cosine": 0.9 / step}
        for place, unit in enumerate(units)
        for step in range(1, min(9, len(units)))
    ]
    write_table(plan.path(ALIKE, layer.name), as_table(rows, ALIKE_COLUMNS))
