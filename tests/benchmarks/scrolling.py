"""How long a tile of a layer's page is in the window before its picture is painted.

The frames that Chromium presents are recorded while the page is scrolled. A tile is painted once it
has detail: until then it is a smooth patch of its mean colour.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

SCROLL = """([step, most]) => new Promise(done => {
  const begun = performance.now();
  let longest = 0, before = begun;
  const next = now => {
    longest = Math.max(longest, now - before); before = now;
    const y = scrollY;
    scrollBy(0, step);
    if (scrollY > y && now - begun < most) requestAnimationFrame(next);
    else setTimeout(() => done(longest), 700);
  };
  requestAnimationFrame(next);
})"""
TILES = """() => [...document.querySelectorAll("#grid li")].map(item => {
  const box = item.getBoundingClientRect();
  return [box.left, box.top + scrollY, box.width];
})"""
HEADER = "document.getElementById('controls').getBoundingClientRect().bottom"
PAINTED = 0.25  # of the detail that a tile has in the last frame where it is seen
Grey = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Scrolled:
    """What was seen while a page scrolled.

    Attributes:
        blank: milliseconds that the slowest tile was in the window without its picture.
        late: how many tiles were so for over 200 ms.
        tiles: how many were seen.
        frame: the longest time between two frames of the script, in milliseconds.
        presented: frames that the browser presented.
    """

    blank: float
    late: int
    tiles: int
    frame: float
    presented: int


@dataclass
class _Seen:
    times: list[float] = field(default_factory=list)
    details: list[float] = field(default_factory=list)


def scroll(page: Any, step: int, most: int = 60_000) -> Scrolled:
    """Scroll a page down and watch its tiles.

    Args:
        page: playwright's, open at its top.
        step: pixels a frame.
        most: milliseconds to scroll.
    """
    frames: list[dict[str, Any]] = []
    devtools = page.context.new_cdp_session(page)

    def keep(frame: dict[str, Any]) -> None:
        frames.append(frame)
        devtools.send("Page.screencastFrameAck", {"sessionId": frame["sessionId"]})

    devtools.on("Page.screencastFrame", keep)
    devtools.send("Page.startScreencast", {"format": "jpeg", "quality": 60})
    longest = page.evaluate(SCROLL, [step, most])
    devtools.send("Page.stopScreencast")
    tiles = _watched(frames, np.array(page.evaluate(TILES)), float(page.evaluate(HEADER)))
    waits = [_wait(seen) for seen in tiles.values()]
    late = sum(wait > 200 for wait in waits)
    return Scrolled(max(waits), late, len(waits), longest, len(frames))


def _watched(frames: list[dict[str, Any]], places: Grey, header: float) -> dict[int, _Seen]:
    """When each tile was wholly in the window, and what detail it had then."""
    found: dict[int, _Seen] = {}
    for frame in frames:
        about = frame["metadata"]
        image = Image.open(BytesIO(base64.b64decode(frame["data"]))).convert("L")
        grey, top = np.asarray(image, np.float32), about["scrollOffsetY"]
        side = places[0, 2]
        inside = (places[:, 1] >= top + header) & (places[:, 1] + side <= top + len(grey))
        for index in np.flatnonzero(inside).tolist():
            left, y = int(places[index, 0]), int(places[index, 1] - top)
            crop = grey[y + 2 : y + int(side) - 2, left + 2 : left + int(side) - 2]
            seen = found.setdefault(index, _Seen())
            seen.times.append(about["timestamp"])
            seen.details.append(_detail(crop))
    return found


def _detail(crop: Grey) -> float:
    """How much neighbouring pixels differ from a straight line between theirs."""
    rows = np.abs(crop[1:-1] - (crop[:-2] + crop[2:]) / 2).mean()
    columns = np.abs(crop[:, 1:-1] - (crop[:, :-2] + crop[:, 2:]) / 2).mean()
    return float(rows + columns)


def _wait(seen: _Seen) -> float:
    """Milliseconds until the tile was painted, or left the window."""
    enough = PAINTED * max(seen.details)
    painted = next(place for place, detail in enumerate(seen.details) if detail >= enough)
    return 1000 * (seen.times[painted] - seen.times[0])
