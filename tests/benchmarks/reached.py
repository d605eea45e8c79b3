"""How far each method drives the class units of the embedded net, beside the best of its drawings.

    python tests/benchmarks/reached.py

Prints the activation of every class unit: the best of 2,000 drawings that the net has not seen,
then what the methods of config/config.yaml reach with the options they have there.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from cnnpref.ascent.objective import Objective
from cnnpref.jobs.nets import Nets
from cnnpref.maximisation import maximise
from cnnpref.nets import Net, describe
from cnnpref.planning.config import read_config
from cnnpref.planning.plan import make_plan, needs_generator

ROOT = Path(__file__).parents[2]
SHAPES = ROOT / "nets" / "shapes"
DRAWINGS, SEED = 2000, 99  # a seed that the training does not use


def best_drawings(net: Net) -> np.ndarray:
    """The highest activation of each class unit over the drawings."""
    sys.path.insert(0, str(SHAPES))
    from draw import draw

    images, _ = draw(DRAWINGS, SEED)
    x = torch.from_numpy(net.space.encode(images))
    with torch.no_grad():
        values = [net.activations(part, "fc8") for part in x.split(250)]
    return torch.cat(values).amax(0).numpy()


def main() -> None:
    config = read_config(str(ROOT / "config" / "config.yaml"))
    plan = make_plan(config, describe)
    nets = Nets(config, torch.device("cpu"))
    net = nets.net
    columns = {"drawings": best_drawings(net)}
    for series in plan.select("fc8"):
        objective = Objective.units(net, "fc8", series.units, weight=series.options.feature_weight)
        generator = nets.generator if needs_generator(series.method) else None
        solution = maximise(
            net, objective, series.method, series.options, series.seed, generator=generator
        )
        columns[series.method] = solution.scores
    print(f"{'class':14}" + "".join(f"{name:>11}" for name in columns))
    for unit, name in enumerate((SHAPES / "classes.txt").read_text().split()):
        print(f"{name:14}" + "".join(f"{column[unit]:11.1f}" for column in columns.values()))


if __name__ == "__main__":
    main()
