"""Procedural drawings: 16 classes of coloured textures and shapes, 64 x 64 RGB, from a seed.

Every class is one implicit function, positive inside the figure. Its value over its own gradient is
the distance to the edge in pixels, which gives all classes the same anti-aliased or soft edges.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

SIZE = 64
CHUNK = 256  # drawings per random stream: the first n drawings of a seed do not depend on how many


@dataclass(frozen=True)
class Frame:
    """Where a batch of figures lies: coordinates (n, 64, 64) in pixels, sizes (n, 1, 1)."""

    x: Array  # from the figure's centre, turned by its angle
    y: Array  # upwards
    radius: Array  # of a shape, or where a texture with a centre ends
    period: Array  # of a texture
    count: Array  # small whole number: 0, 1 or 2

    @property
    def r(self) -> Array:
        return np.hypot(self.x, self.y)

    @property
    def angle(self) -> Array:
        return np.arctan2(self.x, self.y)  # 0 upwards: figures stand on their feet


def wave(distance: Array, period: Array) -> Array:
    return np.cos(2 * np.pi * distance / period)


def fold(f: Frame, corners: int) -> Array:
    """Angle to the nearest of `corners` equally spaced directions, the first one upwards."""
    sector = 2 * np.pi / corners
    return np.abs((f.angle + sector / 2) % sector - sector / 2)


def within(f: Frame, texture: Array) -> Array:
    """The texture inside a disc that is often larger than the picture."""
    return np.minimum(texture, (2 * f.radius - f.r) / f.period)


def polygon(f: Frame, corners: int) -> Array:
    return f.radius * np.cos(np.pi / corners) - f.r * np.cos(np.pi / corners - fold(f, corners))


def grating(f: Frame) -> Array:
    return wave(f.x, f.period)


def plaid(f: Frame) -> Array:
    return np.maximum(wave(f.x, 1.4 * f.period), wave(f.y, 1.4 * f.period)) - 0.75


def checkerboard(f: Frame) -> Array:
    return wave(f.x, 1.6 * f.period) * wave(f.y, 1.6 * f.period)


def dots(f: Frame) -> Array:
    return wave(f.x, 1.2 * f.period) + wave(f.y, 1.2 * f.period) - 0.6


def waves(f: Frame) -> Array:
    return wave(f.y + 0.35 * f.period * wave(f.x, 1.5 * f.period), f.period)


def rings(f: Frame) -> Array:
    return within(f, wave(f.r, f.period))


def spiral(f: Frame) -> Array:
    return within(f, np.cos(2 * np.pi * f.r / (1.2 * f.period) + f.angle))


def pinwheel(f: Frame) -> Array:
    return np.minimum(np.sin((4 + f.count) * f.angle) * f.r, 2 * f.radius - f.r)


def disc(f: Frame) -> Array:
    return f.radius - f.r


def triangle(f: Frame) -> Array:
    return polygon(f, 3)


def square(f: Frame) -> Array:
    return 0.8 * f.radius - np.maximum(np.abs(f.x), np.abs(f.y))


def star(f: Frame) -> Array:
    tip, notch = np.pi / 5, 0.4  # the edge runs from the tip to the notch between two tips
    bend = fold(f, 5)
    across = notch * np.sin(tip) * f.r * np.cos(bend)
    along = (1 - notch * np.cos(tip)) * f.r * np.sin(bend)
    return f.radius * notch * np.sin(tip) - across - along


def cross(f: Frame) -> Array:
    long = np.maximum(np.abs(f.x), np.abs(f.y))
    short = np.minimum(np.abs(f.x), np.abs(f.y))
    return np.minimum(f.radius - long, 0.3 * f.radius - short)


def heart(f: Frame) -> Array:
    x, y = 1.15 * f.x / f.radius, 1.15 * f.y / f.radius + 0.1
    return np.cbrt(x**2) * y - (x**2 + y**2 - 1)


def crescent(f: Frame) -> Array:
    bite = np.hypot(f.x - 0.5 * f.radius, f.y) - 0.8 * f.radius
    return np.minimum(f.radius - f.r, bite)


def flower(f: Frame) -> Array:
    petals = f.radius * (0.68 + 0.32 * np.cos((5 + f.count) * f.angle)) - f.r
    return np.minimum(petals, f.r - 0.22 * f.radius)


TEXTURES: tuple[Callable[[Frame], Array], ...] = (
    *(grating, plaid, checkerboard, dots, waves, rings, spiral, pinwheel),
)
SHAPES: tuple[Callable[[Frame], Array], ...] = (
    *(disc, triangle, square, star, cross, heart, crescent, flower),
)
FIGURES = TEXTURES + SHAPES
CLASSES = tuple(figure.__name__ for figure in FIGURES)


def draw(count: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Drawings (count, 64, 64, 3) in RGB 0..255 and their classes (count,), all from `seed`."""
    chunks = [_chunk(np.random.default_rng([seed, i])) for i in range(-(-count // CHUNK))]
    images, labels = (np.concatenate(part)[:count] for part in zip(*chunks, strict=True))
    return images, labels


def references() -> NDArray[np.uint8]:
    """The reference images of the demo."""
    return draw(384, seed=3)[0]


def _chunk(rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    labels = rng.permutation(np.arange(CHUNK) % len(FIGURES))
    frame = _frames(rng, labels >= len(TEXTURES))
    cover = _coverage(frame, labels, _uniform(rng, 1, 3, square=True))[..., None]
    inner, outer = _colours(rng)
    picture = cover * _paint(rng, inner) + (1 - cover) * _paint(rng, outer)
    noise = rng.normal(size=picture.shape) * _uniform(rng, 0, 0.04)[..., None]
    return (255 * (picture + noise).clip(0, 1)).round().astype(np.uint8), labels


def _uniform(rng: np.random.Generator, low: float, high: float, square: bool = False) -> Array:
    """One number per drawing (n, 1, 1); `square` favours the low end."""
    x = rng.random((CHUNK, 1, 1), dtype=np.float32)
    return np.float32(low) + np.float32(high - low) * (x**2 if square else x)


def _frames(rng: np.random.Generator, upright: NDArray[np.bool_]) -> Frame:
    """Random places and sizes; shapes are tilted a little, textures turned freely."""
    turn = _uniform(rng, -1, 1) * np.where(upright, 0.35, np.pi)[:, None, None].astype(np.float32)
    radius = _uniform(rng, 16, 30)
    slack = np.where(upright[:, None, None], 32 - radius, 12).astype(np.float32)
    pixel = np.arange(SIZE, dtype=np.float32) - (SIZE - 1) / 2
    x = pixel - slack * _uniform(rng, -1, 1)
    y = slack * _uniform(rng, -1, 1) - pixel[:, None]
    return Frame(
        x=np.cos(turn) * x - np.sin(turn) * y,
        y=np.sin(turn) * x + np.cos(turn) * y,
        radius=radius,
        period=_uniform(rng, 9, 20),
        count=rng.integers(3, size=(CHUNK, 1, 1)).astype(np.float32),
    )


def _coverage(frame: Frame, labels: NDArray[np.int64], soft: Array) -> Array:
    """How much of each pixel the figure covers, 0..1; edges are `soft` pixels wide."""
    cover = np.empty((CHUNK, SIZE, SIZE), np.float32)
    for label, figure in enumerate(FIGURES):
        mine = labels == label
        value = figure(Frame(**{k: v[mine] for k, v in vars(frame).items()}))
        steep = np.hypot(*np.gradient(value, axis=(1, 2))) + 1e-6
        cover[mine] = (0.5 + value / (steep * soft[mine])).clip(0, 1)
    return cover


def _colours(rng: np.random.Generator) -> tuple[Array, Array]:
    """Two colours (n, 3) for inside and outside, each pair well apart in lightness or in hue."""
    pairs = rng.random((2, CHUNK, 16, 3), dtype=np.float32)
    apart = np.linalg.norm(pairs[0] - pairs[1], axis=-1) > 0.75
    first = apart.argmax(axis=1)  # of 16 tries; a pair is far enough apart in about 1 of 3
    inner, outer = pairs[:, np.arange(CHUNK), first]
    return inner, outer


def _paint(rng: np.random.Generator, colour: Array) -> Array:
    """A colour (n, 3) as a coat (n, 64, 64, 3) with soft patches: some strong, some invisible."""
    at = np.linspace(0, 3, SIZE, dtype=np.float32)[:, None]
    spread = (1 - np.abs(at - np.arange(4, dtype=np.float32))).clip(0)  # bilinear, 4 -> 64
    patches = rng.normal(size=(CHUNK, 4, 4, 3)).astype(np.float32)
    coat = np.einsum("ya,xb,nabc->nyxc", spread, spread, patches, optimize=True)
    return colour[:, None, None] + _uniform(rng, 0, 0.12, square=True)[..., None] * coat
