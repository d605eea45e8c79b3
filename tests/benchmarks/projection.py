"""How long every unit of AlexNet takes by every method, from a sample of each layer."""

from __future__ import annotations

from statistics import median

import contest
import limit
import torch
from cases import ITERATIONS, Case

LAYERS = [*(f"conv{i}" for i in range(1, 6)), "fc6", "fc7", "fc8"]
METHODS = ["gd", "lbfgs", "dgn_gd", "dgn_lbfgs"]
CONVERSIONS = {"float32": False, "tf32": True}  # whether a product of float32 may use TF32


def project(device: str, batch: int, repeat: int) -> str:
    """A table of minutes, layer by method, for the iterations of the original's examples.

    Args:
        device: where to measure.
        batch: units at once.
        repeat: runs of which the median counts, after one that does not.
    """
    lines = ["| layer | units | " + " | ".join(METHODS) + " |", "|---|" + 5 * "---:|"]
    total = 0.0
    for layer in LAYERS:
        chosen = [Case(m, "alexnet", layer, "center", device, ITERATIONS[m]) for m in METHODS]
        units = chosen[0].nets.ours.layers[layer][0]
        minutes = [units * seconds(case.of(batch), repeat) / 60 for case in chosen]
        lines.append(f"| {layer} | {units} | " + " | ".join(f"{m:.3g}" for m in minutes) + " |")
        total += sum(minutes)
    lines.append(f"\nEvery unit of AlexNet by {len(METHODS)} methods: {total:.3g} minutes.")
    top = Case("gd", "alexnet", "fc8", "center", device, ITERATIONS["gd"], batch)
    return "\n".join([*lines, of_rates(top, repeat)])


def seconds(case: Case, repeat: int) -> float:
    """For one image with all the iterations of the original's example."""
    return median([_seconds(case) for _ in range(repeat + 1)][1:])


def _seconds(case: Case) -> float:
    watch = contest.Watch(case.device)
    solution = contest.maximised(case, watch)
    evaluations = [len(trace) for trace in solution.activations]
    each = watch.seconds / sum(count - 1 for count in evaluations)
    per_iteration = sum(evaluations) / (case.batch * case.iterations)
    return each * per_iteration * case.full_count


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
    return f"{case.name} reaches {shares} rate."
