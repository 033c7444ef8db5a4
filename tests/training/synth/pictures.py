"""What PyAV reads from a picture's or a sound's bytes."""

from __future__ import annotations

import io
from typing import cast

import av
import numpy as np
from numpy.typing import NDArray


def decode_picture(data: bytes) -> NDArray[np.uint8]:
    """``(H, W, 3)`` uint8."""
    with av.open(io.BytesIO(data), "r") as container:
        frame = next(container.decode(video=0))
    assert isinstance(frame, av.VideoFrame)
    return cast("NDArray[np.uint8]", frame.to_ndarray(format="rgb24"))


def decode_sound(data: bytes) -> tuple[NDArray[np.int16], int]:
    """``(L,)`` int16 and the sample rate in Hz."""
    with av.open(io.BytesIO(data), "r") as container:
        frames = [frame for frame in container.decode(audio=0) if isinstance(frame, av.AudioFrame)]
    return np.concatenate([frame.to_ndarray()[0] for frame in frames]), frames[0].sample_rate
