"""Images of every kind as a net is shown them."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from basics import refusal
from PIL import Image

from cnnpref.images.pictures import Frame, UnreadableError

FRAME = Frame((20, 20))
RAMP = np.add.outer(np.arange(40), np.arange(40)).astype(np.uint8) * 3  # 0..234


def file_of(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def rgb() -> Image.Image:
    return Image.fromarray(np.stack([RAMP, RAMP[::-1], RAMP.T[:, ::-1]], -1))


def halved(planes: np.ndarray) -> np.ndarray:
    """Pillow's own half of an image."""
    half = Image.fromarray(planes).resize((20, 20), Image.Resampling.BILINEAR)
    return np.asarray(half)


def test_colours_are_red_green_blue() -> None:
    np.testing.assert_array_equal(FRAME.show(file_of(rgb())), halved(np.asarray(rgb())))


def test_grey_images_are_shown_alike_in_all_channels() -> None:
    shown = FRAME.show(file_of(Image.fromarray(RAMP)))
    np.testing.assert_array_equal(shown, np.repeat(halved(RAMP)[..., None], 3, axis=2))


def test_a_grey_net_sees_the_brightness_of_colours() -> None:
    shown = Frame((20, 20), 1).show(file_of(rgb()))
    np.testing.assert_array_equal(shown[..., 0], halved(np.asarray(rgb().convert("L"))))


def test_16_bits_are_scaled_not_cut() -> None:
    wide = Image.fromarray(RAMP.astype(np.uint16) * 257)
    shown = FRAME.show(file_of(wide))
    np.testing.assert_array_equal(shown[..., 0], halved(RAMP))


def test_palettes_are_looked_up() -> None:
    image = Image.fromarray((RAMP > 100).astype(np.uint8), "P")
    image.putpalette([200, 30, 40, 10, 220, 60])
    shown = Frame((40, 40)).show(file_of(image))
    np.testing.assert_array_equal(shown[0, 0], [200, 30, 40])
    np.testing.assert_array_equal(shown[-1, -1], [10, 220, 60])


def test_what_is_transparent_is_white() -> None:
    pixels = np.zeros((40, 40, 4), np.uint8)
    pixels[:20, :, 3] = 255
    shown = Frame((40, 40)).show(file_of(Image.fromarray(pixels)))
    assert shown[0].max() == 0
    assert shown[-1].min() == 255


def test_cmyk_is_converted() -> None:
    red = Image.new("CMYK", (40, 40), (0, 255, 255, 0))
    shown = FRAME.show(file_of(red, "JPEG", quality=95))
    assert np.abs(shown.astype(int) - [255, 0, 0]).max() < 8


def test_a_camera_that_was_turned_is_turned_back() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rows of the file are columns of the picture
    upright = rgb()
    lying = upright.transpose(Image.Transpose.ROTATE_90)
    shown = FRAME.show(file_of(lying, "PNG", exif=exif))
    np.testing.assert_array_equal(shown, halved(np.asarray(upright)))


def test_large_jpegs_are_shown_as_small_ones_are() -> None:
    large = rgb().resize((1600, 1200), Image.Resampling.BICUBIC)
    found = FRAME.show(file_of(large, "JPEG", quality=95)).astype(int)
    wanted = FRAME.show(file_of(large)).astype(int)
    assert np.abs(found - wanted).mean() < 1.5


def test_an_image_smaller_than_the_nets_is_enlarged() -> None:
    small = Image.fromarray(np.full((5, 8, 3), 77, np.uint8))
    shown = FRAME.show(file_of(small))
    assert shown.shape == (20, 20, 3)
    assert (shown == 77).all()


@pytest.mark.parametrize(
    ("resize", "left", "right"),
    [(None, 20, 60), (20, 20, 60), (40, 30, 50), ((20, 40), 20, 60), ((20, 20), 0, 80)],
)
def test_the_middle_counts(resize: Any, left: int, right: int) -> None:
    """Of an image of 40 x 80: columns `left` to `right`."""
    ramp = np.tile(np.arange(80, dtype=np.uint8), (40, 1))
    shown = Frame((20, 20), 3, resize).show(np.stack([ramp] * 3, -1))[10, :, 0]
    step = (right - left) / 20
    assert abs(shown[0] - (left + step / 2 - 0.5)) <= 1.5
    assert abs(shown[-1] - (right - step / 2 - 0.5)) <= 1.5


def test_pictures_must_cover_the_nets() -> None:
    assert "got 10" in refusal(Frame, (20, 20), 3, 10)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no image"),
        (b"hello", "no image"),
        (file_of(rgb(), "JPEG")[:600], "truncated"),
        (file_of(Image.fromarray(RAMP.astype(np.float32)), "TIFF"), "values"),
        (np.full((4, 4, 3), 300), "300"),
        (np.full((4, 4, 3), np.nan), "nan"),
        (np.zeros((4, 4, 5)), "5 channels"),
        (np.zeros(4), "(4,)"),
    ],
    ids=["empty", "text", "truncated", "floats", "too high", "nan", "channels", "flat"],
)
def test_what_cannot_be_read_says_why(content: Any, reason: str) -> None:
    with pytest.raises(UnreadableError, match=r"\S") as caught:
        FRAME.show(content)
    assert reason in str(caught.value).lower()


def test_arrays_may_have_any_number_of_channels_that_the_net_has() -> None:
    stack = np.random.default_rng(0).integers(0, 255, (20, 20, 5), dtype=np.uint8)
    np.testing.assert_array_equal(Frame((20, 20), 5).show(stack), stack)
    np.testing.assert_array_equal(Frame((20, 20), 5).show(stack.astype(np.float64) + 0.2), stack)
