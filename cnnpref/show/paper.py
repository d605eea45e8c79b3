"""What contact sheets are drawn on: PNG files, one a page, or one PDF file."""

from __future__ import annotations

import io
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo
from reportlab.lib.utils import ImageReader
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFError, TTFont
from reportlab.pdfgen.canvas import Canvas

from cnnpref.atomic import replacing
from cnnpref.planning.sheets import page_mark
from cnnpref.show.text import default_font, runs, write

PAPER = "#ffffff"
DPI = 150  # of PNGs; lengths are in pixels of these
_PDF_SCALE = 2  # pixels of a PDF's pictures in a pixel of the PNG
_POINT = 72 / DPI  # in a pixel
_QUALITY = 90  # of the JPEG in a PDF


class Paper(ABC):
    """Pages to draw on, one after the other.

    Args:
        path: of the file.
        facts: of the sheet, for the file's metadata.
        alpha: pictures may be transparent.

    Attributes:
        scale: pixels of a picture in a pixel of the page.
    """

    scale = 1

    def __init__(self, path: Path, facts: Mapping[str, str], alpha: bool = False) -> None:
        self.path, self.facts, self.mode = path, facts, "RGBA" if alpha else "RGB"

    def start(self, width: int, height: int) -> None:
        """Start a page of that size."""
        size = width * self.scale, height * self.scale
        self._image = Image.new(self.mode, size, PAPER)
        self._draw = ImageDraw.Draw(self._image)

    def picture(self, picture: Image.Image, x: int, y: int, side: int) -> None:
        """Put a picture into the middle of the square whose upper left corner is (x, y)."""
        left, top = (
            at * self.scale + (side * self.scale - length) // 2
            for at, length in zip((x, y), picture.size, strict=True)
        )
        self._image.paste(picture, (left, top))

    def square(self, x: int, y: int, side: int, colour: str) -> None:
        """Paint the square whose upper left corner is (x, y)."""
        box = [n * self.scale for n in (x, y, x + side, y + side)]
        self._draw.rectangle((*box[:2], box[2] - 1, box[3] - 1), fill=colour)

    def line(self, start: tuple[int, int], end: tuple[int, int], colour: str) -> None:
        """Draw a line from one point to another."""
        points = [n * self.scale for n in (*start, *end)]
        self._draw.line(points, fill=colour, width=self.scale)

    @abstractmethod
    def text(self, x: float, y: float, text: str, colour: str, size: int) -> None:
        """Write a line from (x, y), its left end and its top."""

    @abstractmethod
    def end(self) -> None:
        """The page is complete."""

    @abstractmethod
    def close(self) -> None:
        """All pages are complete."""


class PngPaper(Paper):
    """A PNG for each page, the first of that name, the others beside it."""

    def start(self, width: int, height: int) -> None:
        super().start(width, height)
        self._page = getattr(self, "_page", 0) + 1

    def text(self, x: float, y: float, text: str, colour: str, size: int) -> None:
        write(self._draw, (x, y), text, colour, size, math.inf)

    def end(self) -> None:
        path = self.path.with_name(f"{self.path.stem}{page_mark(self._page)}{self.path.suffix}")
        save_png(self._image, path, self.facts)

    def close(self) -> None:
        pass


class PdfPaper(Paper):
    """A PDF: pictures as an image, text as text."""

    scale = _PDF_SCALE

    def __init__(self, path: Path, facts: Mapping[str, str], alpha: bool = False) -> None:
        super().__init__(path, facts, False)
        self._file = io.BytesIO()
        self._pdf = Canvas(self._file)
        self._pdf.setTitle(facts["Title"])
        self._pdf.setAuthor(facts["Net"])
        self._pdf.setCreator(facts["Software"])
        self._pdf.setProducer(facts["Software"])
        self._pdf.setSubject("; ".join(f"{name}: {value}" for name, value in facts.items()))

    def start(self, width: int, height: int) -> None:
        super().start(width, height)
        self._texts: list[tuple[float, float, str, str, str, int]] = []

    def picture(self, picture: Image.Image, x: int, y: int, side: int) -> None:
        if picture.mode == "RGBA":
            white = Image.new("RGBA", picture.size, PAPER)
            picture = Image.alpha_composite(white, picture).convert("RGB")
        super().picture(picture, x, y, side)

    def text(self, x: float, y: float, text: str, colour: str, size: int) -> None:
        base = y + default_font(size).getmetrics()[0]
        for part, font in runs(text, size):
            if name := _embedded(str(font.path)):
                self._texts.append((x, base, part, name, colour, size))
            else:  # as a picture
                large = font.font_variant(size=size * self.scale)
                corner = x * self.scale, base * self.scale
                self._draw.text(corner, part, colour, large, anchor="ls")
            x += font.getlength(part)

    def end(self) -> None:
        width, height = (n / self.scale * _POINT for n in self._image.size)
        self._pdf.setPageSize((width, height))
        jpeg = io.BytesIO()
        self._image.save(jpeg, "JPEG", quality=_QUALITY, subsampling=0)
        self._pdf.drawImage(ImageReader(jpeg), 0, 0, width, height)
        for x, base, text, font, colour, size in self._texts:
            self._pdf.setFillColor(colour)
            self._pdf.setFont(font, size * _POINT)
            self._pdf.drawString(x * _POINT, height - base * _POINT, text)
        self._pdf.showPage()

    def close(self) -> None:
        self._pdf.save()
        with replacing(self.path) as temporary:
            temporary.write_bytes(self._file.getvalue())


def save_png(image: Image.Image, path: Path, facts: Mapping[str, str]) -> None:
    """Write a PNG with facts in its metadata, whole or not at all.

    Raises:
        UserError: the operating system refused to write.
    """
    told = PngInfo()
    for name, value in facts.items():
        told.add_text(name, value)
    with replacing(path) as temporary:
        image.save(temporary, format="PNG", pnginfo=told, dpi=(DPI, DPI))


@cache
def _embedded(path: str) -> str | None:
    """The name of a font that PDFs can have in them; None for one that they cannot."""
    try:
        pdfmetrics.registerFont(TTFont(path, path))
    except TTFError:  # no TrueType outlines
        return None
    return path
