"""One decoded frame as an upright RGB picture of the size that is asked for.

swscale converts straight from the decoder's format and size to planar RGB of the size asked for, with area averaging.
Colour space and range are those that the frame declares, as swscale reads them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import av
import numpy as np
from av.sidedata.sidedata import SideDataContainer
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from handler.errors import LimitExceeded
from handler.limits import Limits

Geometry = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
"""From an upright picture ``(3, H, W)`` uint8 RGB of its own size to ``(3, size, size)`` uint8."""


class Converter:
    """Makes pictures ``(3, size, size)`` of frames: squashed into the square, or by ``geometry`` at their own size."""

    def __init__(self, size: int, geometry: Geometry | None = None) -> None:
        self.size = size
        self._geometry = geometry
        self._reformatter = VideoReformatter()

    def convert(self, frame: av.VideoFrame) -> NDArray[np.uint8]:
        """``(3, size, size)`` uint8 RGB, upright."""
        if self._geometry is None:
            return orient(to_square(frame, self.size, self._reformatter), frame)
        return self._geometry(orient(to_rgb(frame, self._reformatter), frame))


def to_square(frame: av.VideoFrame, size: int, reformatter: VideoReformatter) -> NDArray[np.uint8]:
    """Squash a frame into a square by area averaging: ``(3, size, size)`` uint8 RGB."""
    scaled = reformatter.reformat(frame, size, size, "gbrp", interpolation=Interpolation.AREA, threads=1)
    planes = [np.frombuffer(memoryview(plane), np.uint8).reshape(size, -1)[:, :size] for plane in scaled.planes]
    return np.stack([planes[2], planes[0], planes[1]])


def to_rgb(frame: av.VideoFrame, reformatter: VideoReformatter) -> NDArray[np.uint8]:
    """A frame at its own size: ``(3, H, W)`` uint8 RGB, converted as PyAV's own ``to_ndarray`` does."""
    picture = reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray()
    return np.asarray(picture.transpose(2, 0, 1), dtype=np.uint8)


def check_pixels(width: int, height: int, limits: Limits) -> None:
    """Hold a frame's size against the limit.

    Raises:
        LimitExceeded: naming both.
    """
    if width * height > limits.max_frame_pixels:
        raise LimitExceeded(
            "frame_pixels",
            f"a frame has {width} x {height} pixels, the limit is {limits.max_frame_pixels} in all",
            remedy="Send the clip at a lower resolution, for example 1280 x 720.",
        )


class FrameCount:
    """Holds the frames that come out of a decoder against the limits: each, and all of them together.

    What a file declares does not bound what comes out of it.

    Args:
        limits: bounds on the pixels of a frame, on frames and on their pixels together.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._num_frames = 0
        self._num_pixels = 0

    def add(self, frame: av.VideoFrame) -> None:
        """Look at one more frame.

        Raises:
            LimitExceeded: naming the value and the limit.
        """
        check_pixels(frame.width, frame.height, self._limits)
        self._num_frames += 1
        self._num_pixels += frame.width * frame.height
        if self._num_frames > self._limits.max_frames:
            raise LimitExceeded(
                "frames",
                f"the video has {self._num_frames} frames or more, the limit is {self._limits.max_frames}",
                remedy=f"{self._limits.shorter} Or send fewer frames a second.",
            )
        if self._num_pixels > self._limits.max_total_pixels:
            raise LimitExceeded(
                "total_pixels",
                f"the video's frames have {self._num_pixels} pixels or more together, "
                f"the limit is {self._limits.max_total_pixels}",
                remedy="Send the clip at a lower resolution, for example 1280 x 720, or with fewer frames a second.",
            )


def orient(image: NDArray[np.uint8], frame: av.VideoFrame) -> NDArray[np.uint8]:
    """Turn a picture ``(3, H, W)`` as the frame's display matrix asks.

    The matrix sends (x, y) to (a x + c y, b x + d y). Of the eight ways to turn and mirror a square the nearest is
    taken: cameras write no other, and a slanted picture would need corners that nobody filmed.
    """
    matrix = _display_matrix(frame)
    if matrix is None:
        return image
    a, b, c, d = matrix
    across, down = a, d
    if abs(b) + abs(c) > abs(a) + abs(d):
        image = image.transpose(0, 2, 1)
        across, down = c, b
    return image[:, :: -1 if down < 0 else 1, :: -1 if across < 0 else 1]


def _display_matrix(frame: av.VideoFrame) -> tuple[int, int, int, int] | None:
    """``a, b, c, d`` of the display matrix, nine native int32 in rows of (a, b, u), (c, d, v), (x, y, w)."""
    try:
        # Not frame.side_data: the frame keeps that, which keeps the frame, and its pixels stay until the next garbage
        # collection of the oldest generation, hundreds of clips later.
        side_data: Any = SideDataContainer(frame)  # type: ignore[call-arg]  # which the stub leaves out
        matrix = side_data["DISPLAYMATRIX"]
    except (KeyError, ValueError):  # none, or side data of a kind that PyAV does not know
        return None
    a, b, _, c, d = np.frombuffer(bytes(matrix), dtype=np.int32)[:5].tolist()
    return a, b, c, d
