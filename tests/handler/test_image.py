from __future__ import annotations

import io
import struct
import time
import warnings
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps

from handler.errors import ActivityError, LimitExceeded, UndecodableMedia, UnsupportedMedia
from handler.image import decode_image, read_orientation
from handler.limits import Limits
from tests.media import X264, Picture, gif, png, render

LIMITS = Limits()
CORNERS = {(1, 1): (255, 0, 0), (1, 6): (0, 0, 255), (6, 1): (0, 255, 0), (6, 6): (0, 0, 0)}


def picture() -> Image.Image:
    """40 rows of 80 pixels: red, blue; green, black."""
    image = np.zeros((40, 80, 3), dtype=np.uint8)
    image[:20, :40] = 255, 0, 0
    image[:20, 40:] = 0, 0, 255
    image[20:, :40] = 0, 255, 0
    return Image.fromarray(image)


def encoded(image: Image.Image, form: str, orientation: int | None = None) -> bytes:
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    target = io.BytesIO()
    image.save(target, form, exif=exif)
    return target.getvalue()


def refusal(data: bytes, limits: Limits = LIMITS) -> ActivityError:
    with pytest.raises(ActivityError) as caught:
        decode_image(data, 8, limits)
    assert caught.value.remedy
    return caught.value


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "BMP", "GIF"])
def test_every_format_is_squashed_into_the_square(form: str) -> None:
    image = decode_image(encoded(picture(), form), 8, LIMITS)
    assert image.shape == (3, 8, 8)
    assert image.dtype == np.uint8
    for (row, column), colour in CORNERS.items():
        np.testing.assert_allclose(image[:, row, column].astype(int), colour, atol=3)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "1", "RGBA", "I;16", "CMYK"])
def test_every_kind_of_pixel_decodes(mode: str) -> None:
    grey = Image.new("L", (16, 16), 255)
    image = Image.fromarray(np.full((16, 16), 65535, dtype=np.uint16)) if mode == "I;16" else grey.convert(mode)
    decoded = decode_image(encoded(image, "JPEG" if mode == "CMYK" else "PNG"), 8, LIMITS)
    assert (decoded >= 253).all()


def upright(data: bytes) -> NDArray[np.uint8]:
    """What Pillow makes of it."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).resize((8, 8), Image.Resampling.BOX)
    return np.asarray(image).transpose(2, 0, 1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_jpeg_is_turned_upright(orientation: int) -> None:
    data = encoded(picture(), "JPEG", orientation)
    assert read_orientation(data) == orientation
    difference = decode_image(data, 8, LIMITS).astype(int) - upright(data)
    inner = np.abs(difference)[:, [1, 1, 6, 6], [1, 6, 1, 6]]  # away from the edges, where the scalers differ
    assert inner.max() <= 4


@pytest.mark.parametrize("tail", [b"", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\0\xff", b"II*\0\x08\0\0\0\x01\0"])
def test_a_broken_orientation_is_none(tail: bytes) -> None:
    body = b"Exif\0\0" + tail
    assert read_orientation(b"\xff\xd8\xff\xe1" + struct.pack(">H", 2 + len(body)) + body) == 1


@given(st.binary(max_size=200))
def test_no_bytes_make_the_orientation_fail(tail: bytes) -> None:
    assert 1 <= read_orientation(b"\xff\xd8\xff\xe1\x00\xa0Exif\0\0" + tail) <= 8
    assert 1 <= read_orientation(b"\xff\xd8" + tail) <= 8


def test_an_animated_picture_gives_its_first_frame() -> None:
    assert decode_image(gif(16, 16, 3), 8, LIMITS).shape == (3, 8, 8)


@pytest.mark.parametrize("size", [(16_000, 2_000), (6_000, 5_000)])
def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(size: tuple[int, int]) -> None:
    error = refusal(png(*size))
    assert isinstance(error, LimitExceeded)
    assert error.message == f"the picture has {size[0]} x {size[1]} pixels, the limit is 16000000 in all"


def test_a_picture_of_far_too_many_pixels_is_refused_too() -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = png(16, 16)
    assert isinstance(refusal(bomb[:16] + header + bomb[29:]), UndecodableMedia | LimitExceeded)
    assert isinstance(refusal(gif(16_000, 16_000, 2)), UndecodableMedia | LimitExceeded)


def test_the_limits_can_be_set() -> None:
    data = png(100, 100)
    assert isinstance(refusal(data, Limits(max_image_pixels=9_999)), LimitExceeded)
    assert isinstance(refusal(data, Limits(max_bytes=len(data) - 1)), LimitExceeded)
    assert decode_image(data, 8, Limits(max_image_pixels=10_000, max_bytes=len(data))).max() == 0


@pytest.mark.parametrize("data", [b"", b"no picture", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", png(16, 16)[:50]])
def test_what_does_not_decode_is_said(data: bytes) -> None:
    assert isinstance(refusal(data), UndecodableMedia)


def test_only_pictures_are_opened() -> None:
    video = render("mp4", Picture(num_frames=2, options=X264))
    for data in (video, encoded(picture(), "TIFF"), b"ffconcat version 1.0\nfile /etc/passwd\n"):
        assert isinstance(refusal(data), UnsupportedMedia | UndecodableMedia)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "BMP", "GIF"])
def test_the_size_of_a_picture_is_said_however_far_it_is_beyond_the_limit(form: str) -> None:
    error = refusal(encoded(picture(), form), Limits(max_image_pixels=1))
    width, height = picture().size
    assert error.code == "limit_image_pixels"
    assert error.message == f"the picture has {width} x {height} pixels, the limit is 1 in all"


SEEDS = [encoded(picture(), form) for form in ("PNG", "JPEG", "WEBP", "BMP", "GIF")]


@settings(deadline=None)  # decoding takes as long as the machine is busy
@given(st.sampled_from(SEEDS), st.data())
def test_no_mutation_escapes_the_errors_of_a_request(seed: bytes, data: st.DataObject) -> None:
    mutant = bytearray(seed)
    for place in data.draw(st.lists(st.integers(0, len(seed) - 1), max_size=8)):
        mutant[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(seed)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with suppress(LimitExceeded, UnsupportedMedia, UndecodableMedia):
            assert decode_image(bytes(mutant[:cut]), 8, LIMITS).shape == (3, 8, 8)


def test_a_header_of_empty_segments_costs_no_time() -> None:
    jpeg = b"\xff\xd8" + b"\xff\xe2\x00\x02" * 10_000_000
    began = time.perf_counter()
    assert read_orientation(jpeg) == 1
    assert time.perf_counter() - began < 0.5
