"""The first minimum of the quadratic model along the projected steepest descent."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from cnnpref.optim._history import History, times_vector
from cnnpref.optim._ragged import find, parts

_EPSILON = torch.finfo(torch.float64).eps
_AHEAD = 1.1  # how far beyond the minimum in sight bounds are looked up: it moves on behind each


class CauchyPoint(NamedTuple):
    """Where each of B rows comes to rest.

    Attributes:
        time: it is at x + time * descent within the bounds, (B,).
        bounds: how many are met on the way, (B,), if there is room for so many; more if there is
            not. None where the host has looked.
        moved: W' times the way there from x, (B, 2m).
        moving: W' times the descent of the variables that no bound has stopped, (B, 2m).
    """

    time: Tensor
    moved: Tensor
    moving: Tensor
    bounds: Tensor | None


def cauchy_point(
    history: History,
    descent: Tensor,
    times: Tensor,
    moving: Tensor,
    inverse: Tensor,
    room: int | None = None,
) -> CauchyPoint:
    """Follow the path until the model q(z) = g'z + z'Bz / 2 rises (Byrd et al. 1995, section 4).

    Between the times when variables meet their bounds, q is a parabola. Those that are due before
    the minimum of the present parabola are sorted and passed together: sums over them give slope
    and curvature after each.

    Args:
        history: gives B.
        descent: the negative gradient, 0 where a bound stops it at once, (B, N).
        times: when each variable meets its bound, (B, N).
        moving: W' descent, (B, 2m).
        inverse: M, (B, 2m, 2m).
        room: for how many bounds of a row; None: the host looks how many there are.
    """
    path = _Path(history, descent, times, moving, inverse)
    # without a history no bound changes what the other variables do: the minimum is where it seems
    start = path.time.masked_fill(history.length == 0, torch.inf)
    if room is None:
        _meet_all(path, times, start)
    else:
        later = torch.where(times > start[:, None], times, torch.inf)
        earliest, places = later.topk(min(room, later.shape[1]), largest=False, sorted=False)
        path.meet(places, earliest.isfinite())
    time, moved = path.time + path.rest, path.moved + path.rest[:, None] * path.moving
    met = None if room is None else (times > start[:, None]) & (times <= time[:, None])
    return CauchyPoint(time, moved, path.moving, None if met is None else met.sum(1))


def _meet_all(path: _Path, times: Tensor, start: Tensor) -> None:
    """Meet bounds as long as there are some before the minimum in sight."""
    passed, due = start, path.rest
    while bool((due > passed).any()):
        ahead = _AHEAD * due
        path.meet(*find((times > passed[:, None]) & (times <= ahead[:, None])))
        passed, due = torch.maximum(passed, ahead), path.time + path.rest


class _Path:
    """B rows on their paths.

    Attributes:
        time: so far, (B,).
        rest: from there to the minimum of the present parabola, (B,).
        moved, moving: as in `CauchyPoint`, (B, 2m).
        square: descent'descent of the variables that still move, (B,).
    """

    def __init__(
        self, history: History, descent: Tensor, times: Tensor, moving: Tensor, inverse: Tensor
    ) -> None:
        self._history, self._descent, self._times = history, descent, times
        self._inverse, self._theta = inverse, history.theta[:, None]
        self.moving, self.moved = moving, torch.zeros_like(moving)
        self.square = torch.linalg.vecdot(descent, descent)
        self._least = _EPSILON * self.square[:, None]  # as good as none
        bend = (moving * times_vector(inverse, moving)).sum(1)
        curvature = history.theta * self.square - bend
        self._flattest = _EPSILON * curvature[:, None]
        self.time = torch.zeros_like(curvature)
        self.rest = (self.square / curvature).nan_to_num(nan=0.0).clamp(min=0)

    def meet(self, places: Tensor, valid: Tensor) -> None:
        """Pass the bounds of some variables, (B, K), as far as each row gets."""
        times = self._times.gather(1, places).masked_fill(~valid, torch.inf)
        times, order = times.sort(dim=1, stable=True)
        places = places.gather(1, order)
        for part in parts(places):
            self._pass(times[:, part], places[:, part])

    def _pass(self, times: Tensor, places: Tensor) -> None:
        """The same in order of times: a state after each, of which the first at rest is kept."""
        valid, following = times.isfinite(), times.roll(-1, 1)
        following[:, -1] = torch.inf
        times = torch.where(valid, times, 0)
        way = self._descent.gather(1, places) * valid
        moving, lost = self.moving[:, :, None], way[:, None] * self._history.columns(places)
        after = moving - lost.cumsum(2)
        lapse = times.diff(dim=1, prepend=self.time[:, None])
        covered = lapse[:, None] * torch.cat([moving, after[:, :, :-1]], 2)
        moved = self.moved[:, :, None] + covered.cumsum(2)
        square = self.square[:, None] - (way * way).cumsum(1)
        through = torch.bmm(self._inverse, after)
        slope = (self._theta * times - 1) * square - (moved * through).sum(1)
        curvature = self._theta * square - (after * through).sum(1)
        rest = -slope / torch.maximum(curvature, self._flattest)
        rest = rest.clamp(min=0) * (square > self._least)

        first = (valid & (rest < following - times)).int().argmax(1, keepdim=True)
        goes = valid[:, 0] & (times[:, 0] <= self.time + self.rest)
        news = {"time": times, "rest": rest, "square": square, "moving": after, "moved": moved}
        for name, values in news.items():
            index = first if values.ndim == 2 else first[:, None].expand(-1, values.shape[1], 1)
            old, chosen = getattr(self, name), values.gather(-1, index)[..., 0]
            setattr(self, name, torch.where(goes if old.ndim == 1 else goes[:, None], chosen, old))
