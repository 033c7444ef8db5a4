"""PNG and WAV, read back by FFmpeg."""

from __future__ import annotations

import numpy as np

from tests.training.synth.pictures import decode_picture, decode_sound
from training.synth.files import write_png, write_wav


def test_a_picture_comes_back_to_the_last_bit() -> None:
    picture = np.random.default_rng(0).integers(0, 256, size=(7, 11, 3), dtype=np.uint8)
    np.testing.assert_array_equal(decode_picture(write_png(picture)), picture)
    assert write_png(picture) == write_png(picture)


def test_a_sound_comes_back_in_16_bits_and_is_clipped() -> None:
    samples, rate = decode_sound(write_wav(np.array([0.0, 0.5, -0.5, 1.0, -1.0, 3.0, -3.0]), 22_050))
    assert rate == 22_050
    assert samples.tolist() == [0, 16384, -16384, 32767, -32767, 32767, -32767]
