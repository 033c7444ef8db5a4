"""One picture from untrusted bytes: opened as a video is, with the formats of pictures alone and limits of its own."""

from __future__ import annotations

from typing import Literal

import numpy as np
from av.codec.context import ThreadType
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from handler.container import declared_size, open_untrusted
from handler.errors import ActivityError, LimitExceeded, UndecodableMedia, UnsupportedMedia
from handler.limits import Limits
from handler.picture import Geometry, to_rgb, to_square

FORMATS = ("png_pipe", "apng", "jpeg_pipe", "webp_pipe", "bmp_pipe", "gif")
"""FFmpeg demuxers that a picture may be opened with: none of them opens another file or a socket."""

CODECS = frozenset({"png", "apng", "mjpeg", "webp", "bmp", "gif"})
"""FFmpeg decoders that a picture may be decoded with."""

_MEASURED_FACTOR = 8
"""Pictures up to this many times the limit on pixels are opened, so that the error can name their size."""

_ORIENTATION_TAG = 0x0112

_MAX_EXIF_PLACE = 256 * 1024
"""Bytes of a JPEG in which its EXIF block, of at most 64 KiB and by its standard the first one, is looked for."""

REMEDY = "Send a whole picture: PNG, JPEG, WebP, BMP or GIF."


def decode_image(data: bytes, size: int, limits: Limits, geometry: Geometry | None = None) -> NDArray[np.uint8]:
    """Decode a picture; of an animated one the first frame.

    Args:
        data: the whole file.
        size: height and width of the result in pixels; the whole picture is squashed into this square.
        geometry: makes the square in another way, from the picture at its own size.
        limits: bounds on bytes and pixels.

    Returns:
        ``(3, size, size)`` uint8 RGB, upright: a JPEG is turned and mirrored as its EXIF orientation asks.

    Raises:
        UnsupportedMedia: another format.
        LimitExceeded: too many bytes or pixels, declared or decoded.
        UndecodableMedia: nothing came out.
    """
    if len(data) > limits.max_bytes:
        raise LimitExceeded(
            "bytes",
            f"the picture has {len(data)} bytes, the limit is {limits.max_bytes}",
            remedy="Send a smaller picture.",
        )
    options = {"max_pixels": str(_MEASURED_FACTOR * limits.max_image_pixels)}  # probing decodes as well
    try:
        with open_untrusted(data, FORMATS, options) as opened:
            _check_declared(opened, data, limits)
            frame = _first_frame(opened, options, limits)
            orientation = read_orientation(data)
            if geometry is None:
                return _upright(to_square(frame, size, VideoReformatter()), orientation)
            return geometry(_upright(to_rgb(frame, VideoReformatter()), orientation))
    except ActivityError as error:
        error.remedy = REMEDY
        raise
    except MemoryError as exc:
        raise LimitExceeded(
            "memory", "the picture wants more memory than is allowed", remedy="Send it smaller."
        ) from exc
    except Exception as exc:
        raise UndecodableMedia("the picture does not decode", remedy=REMEDY) from exc


def _check_declared(opened: InputContainer, data: bytes, limits: Limits) -> None:
    for stream in opened.streams.video:
        if (context := stream.codec_context) is not None:
            size = (context.width, context.height) if context.width else declared_size(data, FORMATS, stream.index)
            _check_pixels(*size, limits)


def _first_frame(opened: InputContainer, options: dict[str, str], limits: Limits) -> VideoFrame:
    stream = next(iter(opened.streams.video), None)
    if stream is None or stream.codec_context is None or stream.codec_context.name not in CODECS:
        raise UnsupportedMedia("the picture is of no format that is allowed", remedy=REMEDY)
    context = stream.codec_context
    context.thread_count, context.thread_type, context.options = 1, ThreadType.NONE, options
    for frame in opened.decode(stream):
        _check_pixels(frame.width, frame.height, limits)
        return frame
    raise UndecodableMedia("no picture came out of the file", remedy=REMEDY)


def _check_pixels(width: int, height: int, limits: Limits) -> None:
    if width * height > limits.max_image_pixels:
        raise LimitExceeded(
            "image_pixels",
            f"the picture has {width} x {height} pixels, the limit is {limits.max_image_pixels} in all",
            remedy=REMEDY,
        )


def _upright(image: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Turn a picture ``(3, H, W)`` from its EXIF orientation, 1 to 8, to the upright one, 1."""
    if orientation >= 5:  # rows and columns are exchanged
        image = image.transpose(0, 2, 1)
    if orientation in (3, 4, 7, 8):
        image = image[:, ::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, :, ::-1]
    return np.ascontiguousarray(image)


def read_orientation(data: bytes) -> int:
    """The EXIF orientation of a JPEG, 1 to 8; 1, which is upright, where it says none (JEITA CP-3451, 4.6.4)."""
    place = 2
    data = data[:_MAX_EXIF_PLACE]  # a header of a million empty segments would be walked for seconds
    while data.startswith(b"\xff\xd8") and data[place : place + 1] == b"\xff":
        marker, length = data[place + 1 : place + 2], int.from_bytes(data[place + 2 : place + 4])
        if marker == b"\xda" or length < 2:  # the picture's data begin, or it is malformed
            break
        if marker == b"\xe1" and data[place + 4 : place + 10] == b"Exif\0\0":
            return _orientation_of_tiff(data[place + 10 : place + 2 + length])
        place += 2 + length
    return 1


def _orientation_of_tiff(tiff: bytes) -> int:
    """The orientation in the first directory of a TIFF header; 1 where there is none."""
    order: Literal["little", "big"] = "little" if tiff.startswith(b"II") else "big"
    start = int.from_bytes(tiff[4:8], order)
    num_entries = int.from_bytes(tiff[start : start + 2], order)
    for entry in range(start + 2, min(start + 2 + 12 * num_entries, len(tiff) - 11), 12):
        if int.from_bytes(tiff[entry : entry + 2], order) == _ORIENTATION_TAG:
            value = int.from_bytes(tiff[entry + 8 : entry + 10], order)
            return value if 1 <= value <= 8 else 1
    return 1
