"""Text on sheets, in any writing that a font of this machine has, cut to the room there is."""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from itertools import groupby
from pathlib import Path

import reportlab
from PIL import ImageDraw, ImageFont

Font = ImageFont.FreeTypeFont

_USUAL = Path(reportlab.__file__).with_name("fonts") / "Vera.ttf"  # of Western languages

# Asked in this order for what the usual font cannot write.
_OTHERS = (
    *("DejaVuSans.ttf", "NotoSans-Regular.ttf", "LiberationSans-Regular.ttf"),
    *("NotoSansCJK-Regular.ttc", "NotoSansCJKsc-Regular.otf", "wqy-microhei.ttc", "unifont.ttf"),
    *("Arial Unicode.ttf", "PingFang.ttc", "Hiragino Sans GB.ttc", "AppleGothic.ttf"),  # macOS
    *("arial.ttf", "segoeui.ttf", "seguisym.ttf", "msyh.ttc", "msgothic.ttc", "malgun.ttf"),
)
_UNKNOWN, _CUT = "?", "\u2026"
_NO_CHARACTER = "\uffff"  # which no font has
_MOST = 1000  # characters that are looked at: more fit into no sheet


@cache
def default_font(size: int) -> Font:
    """The usual font, of a size in pixels."""
    return ImageFont.truetype(_USUAL, size)


def write(
    draw: ImageDraw.ImageDraw,
    corner: tuple[float, float],
    text: str,
    colour: str,
    size: int,
    room: float,
) -> None:
    """Write one line; what is wider than the room is cut, with an ellipsis.

    Characters that no font has are written as their plain letter, or as a question mark.

    Args:
        draw: on what.
        corner: left, and the top of the line.
        text: without line breaks.
        colour: as Pillow knows it.
        size: of the font, in pixels.
        room: width in pixels; where not even one letter fits, nothing is written.
    """
    x, top = corner
    base = top + default_font(size).getmetrics()[0]
    for part, font in runs(fit(text, size, room), size):
        draw.text((x, base), part, colour, font, anchor="ls")
        x += font.getlength(part)


def fit(text: str, size: int, room: float) -> str:
    """The text, or as much of its beginning as fits into so many pixels, with an ellipsis."""
    spelt = "".join(part for part, _ in runs(text[:_MOST], size))
    if len(text) <= _MOST and width(spelt, size) <= room:
        return spelt
    ends = range(1, len(spelt) + 1)
    count = bisect_right(ends, room, key=lambda end: width(_cut(spelt, end), size))
    return _cut(spelt, count) if count else ""


def _cut(text: str, end: int) -> str:
    return text[:end].rstrip(" ,;") + _CUT


def width(text: str, size: int) -> float:
    """Of a line, in pixels."""
    return sum(font.getlength(part) for part, font in runs(text, size))


def runs(text: str, size: int) -> Iterator[tuple[str, Font]]:
    """Parts of the text, as it can be written, each of one font."""
    spelt = (_spelt(character, size) for character in unicodedata.normalize("NFC", text))
    for place, group in groupby((each for each in spelt if each[0]), key=lambda each: each[1]):
        yield "".join(part for part, _ in group), _fonts(size)[place]


@cache
def _spelt(character: str, size: int) -> tuple[str, int]:
    """How a character is written, and by which font."""
    plain = unicodedata.normalize("NFKD", character)[:1]
    for wanted in dict.fromkeys((character, plain)):
        for place, font in enumerate(_fonts(size)):
            if _has(font, wanted):
                return wanted, place
    is_joined = unicodedata.category(character) in ("Cf", "Mn", "Me")  # to its neighbours
    return ("" if is_joined else _UNKNOWN), 0


@cache
def _fonts(size: int) -> list[Font]:
    """The usual font, and those of this machine."""
    fonts = [default_font(size)]
    for name in _OTHERS:
        with suppress(OSError):
            fonts.append(ImageFont.truetype(name, size))
    return fonts


def _has(font: Font, character: str) -> bool:
    """Whether a font draws something else for it than for a character that it does not have."""
    return character.isspace() or _drawn(font, character) != _drawn(font, _NO_CHARACTER)


def _drawn(font: Font, character: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(character)
    return mask.size, bytes(mask)
