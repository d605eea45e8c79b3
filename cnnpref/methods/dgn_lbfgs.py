"""`dgn_lbfgs`: L-BFGS-B on the features that a generator makes an image of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from cnnpref.methods.lbfgs import QuasiNewton, QuasiNewtonOptions
from cnnpref.methods.options import ONE_START

if TYPE_CHECKING:
    from cnnpref.ascent.task import Scene
    from cnnpref.ascent.variables import Variables


class DgnLbfgsOptions(QuasiNewtonOptions):
    """L-BFGS-B on features."""


class DgnLbfgs(QuasiNewton[DgnLbfgsOptions]):
    """The original's `prefer_img_dgn_lbfgs`."""

    name = "dgn_lbfgs"
    options = DgnLbfgsOptions
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "lower": {"maxiter": 200, "feature_weight": 0.05},
        "higher": {"maxiter": 500, "feature_weight": 10.0},
        "reference": {**ONE_START, "solver": "scipy"},
    }
    needs_generator = True

    def variables(self, options: DgnLbfgsOptions, scene: Scene) -> Variables:
        return scene.features()


DGN_LBFGS = DgnLbfgs()
