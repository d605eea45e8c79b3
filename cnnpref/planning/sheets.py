"""What a config says of the contact sheets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from math import ceil
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class SheetOptions:
    """How contact sheets look: the config's section `sheets`.

    Attributes:
        units: most tiles on a page, where that leaves room for one unit.
        alpha: tiles are transparent where a pixel did not matter, as far as that was recorded.
        under: what stands under a tile beside the unit's number: "label", "rank", "activation" or
            the name of another score.
        pdf: whether there is a PDF beside the PNGs.
    """

    units: int = 256
    alpha: bool = False
    under: tuple[str, ...] = ("label",)
    pdf: bool = False

    @classmethod
    def of(cls, section: Mapping[str, Any]) -> SheetOptions:
        """From the section of a checked config."""
        under, units = section.get("under", cls.under), section.get("units", cls.units)
        return cls(**{**section, "under": tuple(under), "units": int(units)})

    @property
    def text(self) -> str:
        """All of it, as JSON."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @property
    def key(self) -> str:
        """Hexadecimal sha256 of all of it."""
        return sha256(self.text.encode()).hexdigest()

    def units_of_page(self, methods: int) -> int:
        """How many units a page of so many methods side by side has, at most."""
        return max(1, self.units // methods)

    def pages(self, units: int, methods: int = 1) -> int:
        """How many pages so many units take, by so many methods side by side."""
        return ceil(units / self.units_of_page(methods))


_MARK = "+page"  # a '+' is not in the names of layers as `series.escape` writes them


def page_mark(page: int) -> str:
    """What the name of a page's file ends in: nothing for page 1."""
    return "" if page == 1 else f"{_MARK}{page}"


def page_of(path: Path) -> tuple[str, str]:
    """What a sheet is of, and which page its file has: "all" in a PDF."""
    name, _, page = path.stem.partition(_MARK)
    return name, "all" if path.suffix == ".pdf" else page or "1"
