"""Text on sheets: what is written of a label, and how wide it is."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from cnnpref.show.text import default_font, fit, write

LABELS = [
    *("heart", "", "<b>&amp;</b> \"'", "café Ωж", "e\u0301", "金魚", "🐟👩\u200d🚀\ufe0f", "אבג"),
    *("x" * 100_000, "great white shark, white shark, man-eater", "\u0600\u0301\u200b", "ﬁ ½"),
]


def ink(text: str, room: float) -> tuple[int, int]:
    """The first and last column that is written on, from where the text begins."""
    page = Image.new("RGB", (400, 60), "white")
    write(ImageDraw.Draw(page), (100, 20), text, "black", 13, room)
    columns = (np.asarray(page) < 200).any(axis=(0, 2)).nonzero()[0] - 100
    return (int(columns[0]), int(columns[-1])) if columns.size else (0, 0)


@pytest.mark.parametrize("text", LABELS)
@pytest.mark.parametrize("room", [3, 20, 56, 200])
def test_text_of_any_kind_stays_within_its_room(text: str, room: int) -> None:
    first, last = ink(text, room)
    assert first >= -2
    assert last <= room + 1


def test_what_fits_is_whole_and_what_does_not_ends_in_an_ellipsis() -> None:
    text = "great white shark"
    width = default_font(13).getlength(text)
    assert fit(text, 13, width) == text
    assert fit(text, 13, width - 1) in ("great white sha…", "great white sh…")
    assert fit(text, 13, default_font(13).getlength("great whi…") + 1) == "great whi…"
    assert fit("tench, Tinca tinca", 13, default_font(13).getlength("tench, ") + 9) == "tench…"
    assert fit(text, 13, 12) == ""


def test_what_no_font_has_is_written_plainly_or_as_a_question_mark() -> None:
    assert fit("\ue000\U0010fffd a\u200bb", 13, 500).replace("\u200b", "") == "?? ab"
    assert fit("ﬃ", 13, 500) in ("ﬃ", "f")


@pytest.mark.parametrize("text", ["Ω", "ж", "é"])
def test_other_letters_are_written_where_a_font_of_the_machine_has_them(text: str) -> None:
    assert fit(text, 13, 500) in (text, "e", "?")
    assert ink(text, 200) != (0, 0)
