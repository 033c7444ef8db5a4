"""Pictures and sounds as files: PNG and WAV, the same bytes on every machine."""

from __future__ import annotations

import io
import struct
import wave
import zlib

import numpy as np
from numpy.typing import NDArray


def write_png(picture: NDArray[np.uint8]) -> bytes:
    """A PNG of ``(H, W, 3)`` uint8 RGB: https://www.w3.org/TR/png-3/."""
    height, width, _ = picture.shape
    rows = np.zeros((height, 1 + 3 * width), dtype=np.uint8)
    rows[:, 1:] = picture.reshape(height, -1)
    rows[1:, 1:] -= picture.reshape(height, -1)[:-1]
    rows[1:, 0] = 2  # each row but the first is its difference from the one above
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 4)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def write_wav(waveform: NDArray[np.float64], sample_rate: int) -> bytes:
    """A WAV of 16 bits of one channel, ``(L,)`` in [-1, 1]; what is beyond is clipped."""
    target = io.BytesIO()
    with wave.open(target, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(np.rint(np.clip(waveform, -1, 1) * 32767).astype("<i2").tobytes())
    return target.getvalue()
