"""The maker of long recordings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.long_media import TURN_SECONDS, make_long_clip
from handler.audio import decode_waveform
from handler.container import open_container
from handler.limits import Limits
from handler.video import decode_frames


def test_a_long_recording_decodes_to_its_end_and_repeats_itself(tmp_path: Path) -> None:
    path = tmp_path / "long.mp4"
    make_long_clip(path, 40.0, width=64, height=48, rate=5)
    with open_container(path.read_bytes(), Limits()) as container:
        assert container.video is not None
        packets = container.video.packets
        assert packets.span.start_seconds == 0.0
        assert packets.span.stop_seconds == 3 * TURN_SECONDS
        assert packets.is_exact
        assert packets.is_key.sum() == 12
        assert container.span.duration_seconds == pytest.approx(3 * TURN_SECONDS, abs=0.2)
        times = np.array([1.1, 7.3, 15.9])
        frames = decode_frames(container, np.stack([times, times + 2 * TURN_SECONDS]), 24, Limits())
        assert np.array_equal(frames[0], frames[1])
        assert not np.array_equal(frames[0, 0], frames[0, 1])
        samples = decode_waveform(container, 16_000, Limits()).samples
    first, last = (samples[turn * 16_000 * TURN_SECONDS + 8_000 :][:64_000] for turn in (0, 2))
    assert np.abs(first).max() > 0.3
    assert np.abs(first - last).max() < 1e-3
