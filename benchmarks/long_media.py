"""A long recording in a moment: a short one is encoded and its packets are repeated with later times."""

from __future__ import annotations

import io
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.packet import Packet

TURN_SECONDS = 16
"""Length of what is repeated: whole groups of pictures and whole frames of AAC at 16 kHz."""

_RATE = 16_000


def make_long_clip(
    path: Path, seconds: float, *, width: int = 160, height: int = 120, rate: int = 10, gop_seconds: int = 4
) -> None:
    """Write an mp4 with a picture (H.264) and mono sound (AAC, 16 kHz).

    Args:
        path: of the file.
        seconds: at least how long it is; it is a multiple of ``TURN_SECONDS``.
        width: of the picture in pixels, even, as is ``height``.
        height: see ``width``.
        rate: frames a second.
        gop_seconds: from one key frame to the next, a divisor of ``TURN_SECONDS``.
    """
    turn = _encode_turn(width, height, rate, gop_seconds)
    with av.open(io.BytesIO(turn), "r") as source, av.open(path, "w", format="mp4") as output:
        streams = [output.add_stream_from_template(stream) for stream in source.streams]
        packets: list[Any] = [packet for packet in source.demux() if packet.size]
        packets.sort(key=lambda packet: packet.dts * packet.time_base)
        for number in range(math.ceil(seconds / TURN_SECONDS)):
            for packet in packets:
                output.mux(_later(packet, number * TURN_SECONDS, streams[packet.stream.index]))


def _encode_turn(width: int, height: int, rate: int, gop_seconds: int) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        options = {"preset": "ultrafast", "g": str(rate * gop_seconds), "bf": "2", "x264-params": "scenecut=0"}
        picture: Any = output.add_stream("libx264", rate=rate, options=options)
        picture.width, picture.height, picture.pix_fmt = width, height, "yuv420p"
        sound: Any = output.add_stream("aac", rate=_RATE)
        sound.layout = "mono"
        ground = np.linspace(0, 200, width * height * 3, dtype=np.uint8).reshape(height, width, 3)
        for place in range(TURN_SECONDS * rate):
            image = ground.copy()
            left = (7 * place) % (width - width // 6)
            image[height // 3 : height // 2, left : left + width // 6] = (250, 60, 20)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = place, Fraction(1, rate)
            output.mux(picture.encode(frame))
        output.mux(picture.encode(None))
        times = np.arange(TURN_SECONDS * _RATE) / _RATE
        samples = np.asarray(0.4 * np.sin(2 * np.pi * (300 + 40 * times) * times), dtype=np.float32)
        for start in range(0, len(samples), 1_024):
            block = av.AudioFrame.from_ndarray(samples[None, start : start + 1_024], format="fltp", layout="mono")
            block.sample_rate, block.pts, block.time_base = _RATE, start, Fraction(1, _RATE)
            output.mux(sound.encode(block))
    return file.getvalue()  # what the encoder of the sound holds back comes first in the next turn


def _later(packet: Any, seconds: int, stream: Any) -> Any:
    later: Any = Packet(bytes(packet))
    shift = round(seconds / packet.time_base)
    later.pts, later.dts, later.duration = packet.pts + shift, packet.dts + shift, packet.duration
    later.time_base, later.is_keyframe, later.stream = packet.time_base, packet.is_keyframe, stream
    return later
