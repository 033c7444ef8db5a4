"""Scripts of short clips with wanted properties, and what PyAV decodes of their bytes."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray

from training.synth.dealing import Deal
from training.synth.labels import ACTIVITIES, Activity
from training.synth.script import ClipScript, draw_script


def find_script(wanted: Callable[[ClipScript], bool], *activities: Activity, seconds: float = 2.7) -> ClipScript:
    """The first script with a property, of the given activities or of the first and the last."""
    shown = activities or (ACTIVITIES[0], ACTIVITIES[-1])
    deal = Deal(shown, (seconds,) * len(shown))
    drawn = (draw_script((7, index), deal) for index in range(2000))
    script = next(script for script in drawn if wanted(script))
    return replace(script, width=160, height=120)


@dataclass(frozen=True)
class Decoded:
    """What comes out of a container."""

    frame_seconds: tuple[Fraction, ...]
    frames: NDArray[np.uint8]
    """``(T, H, W, 3)`` uint8."""
    audio_start_seconds: Fraction
    samples: NDArray[np.float32]
    """``(channels, L)`` float32."""
    sample_rate: int


def decode(data: bytes) -> Decoded:
    """Decode everything."""
    pictures, sounds = [], []
    with av.open(io.BytesIO(data), "r") as container:
        for frame in container.decode(video=0, audio=0):
            if isinstance(frame, av.VideoFrame):
                pictures.append(frame)
            elif isinstance(frame, av.AudioFrame):
                sounds.append(frame)

        def seconds(frame: av.VideoFrame | av.AudioFrame) -> Fraction:
            assert frame.pts is not None
            assert frame.time_base is not None
            return frame.pts * frame.time_base

        return Decoded(
            frame_seconds=tuple(seconds(frame) for frame in pictures),
            frames=np.stack([frame.to_ndarray(format="rgb24") for frame in pictures]),
            audio_start_seconds=seconds(sounds[0]),
            samples=np.concatenate([_planar(frame) for frame in sounds], axis=1),
            sample_rate=sounds[0].sample_rate,
        )


def _planar(frame: av.AudioFrame) -> NDArray[np.float32]:
    array = frame.to_ndarray().astype(np.float32)
    return array if frame.format.is_planar else array.reshape(-1, frame.layout.nb_channels).T
