"""A piece of a clip as a clip of its own."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

VIDEO_OPTIONS = {
    "preset": "veryfast",
    "crf": "10",
    "mbtree": "0",
    "threads": "1",
}  # as good as the original, repeatable
TOLERANCE_SECONDS = 1e-6


def cut_clip(source: Path, start_seconds: float, seconds: float) -> bytes:
    """Cut ``[start_seconds, start_seconds + seconds)`` out of a clip.

    Args:
        source: a file with a picture of constant rate and sound, both from time 0.
        start_seconds: where the piece begins; at least 0.
        seconds: how long it is.

    Returns:
        A Matroska file: H.264 from time 0, and the decoded samples as float32, mono, silent where there are none.

    Raises:
        ValueError: when no frame of the source is in the piece.
    """
    with av.open(str(source)) as clip:
        rate = Fraction(clip.streams.video[0].average_rate or 25)
        frames = [frame for frame in clip.decode(video=0) if _inside(frame, start_seconds, seconds)]
    if not frames:
        raise ValueError(f"{source.name} has no frame from {start_seconds} s to {start_seconds + seconds} s")
    samples, sample_rate = _read_sound(source)
    first, length = round(start_seconds * sample_rate), round(seconds * sample_rate)
    piece = samples[first : first + length]
    return _encode(frames, rate, np.pad(piece, (0, length - len(piece))), sample_rate)


def _inside(frame: av.VideoFrame, start_seconds: float, seconds: float) -> bool:
    since = float(frame.time or 0.0) - start_seconds
    return -TOLERANCE_SECONDS <= since < seconds - TOLERANCE_SECONDS


def _read_sound(source: Path) -> tuple[NDArray[np.float32], int]:
    """All samples ``(L,)`` and their rate."""
    with av.open(str(source)) as clip:
        rate = clip.streams.audio[0].codec_context.sample_rate
        resampler = av.AudioResampler(format="flt", layout="mono", rate=rate)
        parts = [out.to_ndarray()[0] for frame in clip.decode(audio=0) for out in resampler.resample(frame)]
        parts += [out.to_ndarray()[0] for out in resampler.resample(None)]
    return np.concatenate(parts), rate


def _encode(frames: list[av.VideoFrame], rate: Fraction, samples: NDArray[np.float32], sample_rate: int) -> bytes:
    target = io.BytesIO()
    with av.open(target, "w", format="matroska", container_options={"fflags": "+bitexact"}) as container:
        video = container.add_stream("libx264", rate=rate, options=VIDEO_OPTIONS)
        video.width, video.height, video.pix_fmt = frames[0].width, frames[0].height, "yuv420p"
        audio = container.add_stream("pcm_f32le", rate=sample_rate)
        audio.layout = "mono"
        for number, frame in enumerate(frames):
            picture = frame.reformat(format="yuv420p")
            picture.pts, picture.time_base = number, 1 / rate
            picture.pict_type = av.video.frame.PictureType.NONE  # the encoder's choice, not the source's
            container.mux(video.encode(picture))
        container.mux(video.encode())
        sound = av.AudioFrame.from_ndarray(samples[None], format="flt", layout="mono")
        sound.sample_rate, sound.pts, sound.time_base = sample_rate, 0, Fraction(1, sample_rate)
        container.mux(audio.encode(sound))
        container.mux(audio.encode())
    return target.getvalue()
