"""How long every unit of AlexNet takes by every method, from a sample of each layer."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median

import contest
import limit
import torch
from cases import ITERATIONS, Case

LAYERS = [*(f"conv{i}" for i in range(1, 6)), "fc6", "fc7", "fc8"]
METHODS = ["gd", "lbfgs", "dgn_gd", "dgn_lbfgs", "spectral"]
# L-BFGS meets more bounds in its first iterations than later: so many that they count for less
COUNTS = dict.fromkeys(ITERATIONS, 12) | {"lbfgs": 30, "dgn_lbfgs": 18}
CONVERSIONS = {"float32": False, "tf32": True}  # whether a product of float32 may use TF32


def project(device: str, batch: int, repeat: int) -> str:
    """Minutes, layer by method, for the iterations of the original's examples, or the defaults'.

    On a GPU a table for each precision that all methods can have.

    Args:
        device: where to measure.
        batch: units at once.
        repeat: runs of which the median counts, after one that does not.
    """
    precisions = ["float32"] if device == "cpu" else [*CONVERSIONS]
    tables = [_table(device, precision, batch, repeat) for precision in precisions]
    tops = [_case("gd", "fc8", device, precision).of(batch) for precision in precisions]
    return "\n\n".join([*tables, *(of_rates(top, repeat) for top in tops)])


def _case(method: str, layer: str, device: str, precision: str) -> Case:
    count = COUNTS[method]
    return Case(method, "alexnet", layer, "center", device, count, precision=precision)


def _table(device: str, precision: str, batch: int, repeat: int) -> str:
    lines = [f"| {precision} | units | {' | '.join(METHODS)} |", "|---|" + "---:|" * 6]
    totals = dict.fromkeys(METHODS, 0.0)
    for layer in LAYERS:
        cases = [_case(method, layer, device, precision).of(batch) for method in METHODS]
        units = cases[0].nets.ours.layers[layer][0]
        minutes = [units * seconds(case, repeat) / 60 for case in cases]
        lines.append(_row(layer, units, minutes))
        for method, more in zip(METHODS, minutes, strict=True):
            totals[method] += more
    lines.append(_row("all", "", totals.values()))
    original = sum(minutes for method, minutes in totals.items() if method != "spectral")
    return "\n".join([*lines, "", f"By the original's methods: {original:.3g} minutes."])


def _row(layer: str, units: object, minutes: Iterable[float]) -> str:
    return f"| {layer} | {units} | {' | '.join(f'{each:.3g}' for each in minutes)} |"


def seconds(case: Case, repeat: int) -> float:
    """For one image with all the iterations of the original's example."""
    return median([_seconds(case) for _ in range(repeat + 1)][1:])


def _seconds(case: Case) -> float:
    speed, per_iteration = contest.measured(case)
    return per_iteration * case.full_count / speed


def of_rates(case: Case, repeat: int) -> str:
    """The share of the rates of matrix products, of each precision, that a case reaches."""
    reached = median([contest.ours(case) for _ in range(repeat)]) * limit.needed(case)
    rates = {"bf16": limit.matmul_rate(case.device, torch.bfloat16)}
    before = torch.backends.cuda.matmul.allow_tf32
    for name, allowed in CONVERSIONS.items():
        torch.backends.cuda.matmul.allow_tf32 = allowed
        rates[name] = limit.matmul_rate(case.device)
    torch.backends.cuda.matmul.allow_tf32 = before
    shares = ", ".join(f"{reached / rate:.1%} of {name}'s" for name, rate in rates.items())
    return f"{case.name} in {case.precision} reaches {shares} rate."
