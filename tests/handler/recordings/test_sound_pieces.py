"""Sound in pieces of hops: the same bits as the whole, and no more memory than a piece."""

from __future__ import annotations

import tracemalloc

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from handler import audio
from handler.audio import decode_waveform
from handler.clip import Waveform
from handler.container import AudioStream, open_container
from handler.decode import cut_samples
from handler.errors import LimitExceeded, UndecodableMedia
from handler.limits import Limits
from handler.recordings.sound_pieces import HopCutter, decode_sound_pieces
from handler.windows import Schedule, Span, build_schedule
from models.config import WindowConfig
from models.encoder_config import AudioConfig
from tests.handler.test_audio import LOSSLESS, LOSSY
from tests.media import X264, Picture, Sound, render

LIMITS = Limits()
CONFIG = AudioConfig()
WINDOWS = WindowConfig(stride_seconds=0.1)
LATE = Sound(
    codec="pcm_f32le", seconds=0.8, hertz=50.0, pts_ms=(2_500, 2_600, 2_700, 3_900, 3_960, 4_060, 9_000, 9_101)
)
"""With a gap of 1.1 s, an overlap, and a gap of 5 s."""

FILES = {
    **LOSSLESS,
    **LOSSY,
    "gaps and overlaps": ("matroska", LATE),
    "beside a picture": ("mp4", Picture(options=X264), Sound(rate=48_000)),
}


def schedule_of(data: bytes) -> Schedule:
    with open_container(data, LIMITS) as container:
        return build_schedule(container.span, WINDOWS)


def whole(data: bytes, schedule: Schedule) -> NDArray[np.float32]:
    with open_container(data, LIMITS) as container:
        return cut_samples(decode_waveform(container, CONFIG.sample_rate, LIMITS), schedule, CONFIG)


def in_pieces(data: bytes, schedule: Schedule, size: int, limits: Limits = LIMITS) -> list[NDArray[np.float32]]:
    with open_container(data, LIMITS) as container:
        return list(decode_sound_pieces(container, schedule, CONFIG, size, limits))


@pytest.mark.parametrize("name", FILES)
def test_pieces_are_the_whole(name: str) -> None:
    data = render(*FILES[name])
    found = schedule_of(data)
    longer = build_schedule(Span(found.span.start_seconds - 0.33, found.span.stop_seconds + 0.77), WINDOWS)
    shorter = build_schedule(Span(found.span.start_seconds + 0.21, found.span.stop_seconds - 0.3), WINDOWS)
    for schedule in (found, longer, shorter):
        expected = whole(data, schedule)
        for size in (1, 4, 7, 999):
            pieces = in_pieces(data, schedule, size)
            assert [len(piece) for piece in pieces[:-1]] == [size] * (len(pieces) - 1)
            assert np.array_equal(np.concatenate(pieces), expected)


def test_a_change_of_the_sample_rate_in_mid_file() -> None:
    parts = [render("mp3", Sound(codec="libmp3lame", rate=rate, seconds=1.0)) for rate in (44_100, 24_000)]
    data = b"".join(parts)
    schedule = build_schedule(Span(0.0, 2.2), WINDOWS)
    for size in (1, 4, 7):
        assert np.array_equal(np.concatenate(in_pieces(data, schedule, size)), whole(data, schedule))


def test_a_run_that_begins_within_the_one_before_it_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    data = render("wav", Sound(codec="pcm_s16le", seconds=4.0))
    frames = list(audio._decode_all(audio_of(data)))
    later = [av.AudioFrame.from_ndarray(frame.to_ndarray(), format="s16", layout="mono") for frame in frames[:20]]
    for place, frame in enumerate(later):
        frame.sample_rate, frame.pts = 8_000, 16_000 * 3 + place * 2 * frame.samples  # a second before the end
    monkeypatch.setattr(audio, "_decode_all", lambda _: iter((*frames, *later)))
    schedule = build_schedule(Span(0.0, 5.0), WINDOWS)
    expected = whole(data, schedule)
    assert np.array_equal(np.concatenate(in_pieces(data, schedule, 1)), expected)


def audio_of(data: bytes) -> AudioStream:
    stream = open_container(data, LIMITS).audio
    assert stream is not None
    return stream


def test_a_piece_comes_before_the_rest_is_decoded() -> None:
    data = render("wav", Sound(codec="pcm_s16le", seconds=12.0))
    schedule = schedule_of(data)
    with open_container(data, LIMITS) as container:
        pieces = decode_sound_pieces(container, schedule, CONFIG, 10, Limits(max_duration_seconds=9.0))
        assert [len(next(pieces)) for _ in range(3)] == [10] * 3
        with pytest.raises(LimitExceeded, match=r"the clip lasts 9\.\d+ s or more, the limit is 9 s"):
            list(pieces)


def test_memory_does_not_grow_with_the_length() -> None:
    def peak(seconds: float) -> int:
        data = render("wav", Sound(codec="pcm_u8", rate=8_000, seconds=seconds))
        schedule = build_schedule(Span(0.0, seconds), WINDOWS)
        with open_container(data, LIMITS) as container:
            pieces = decode_sound_pieces(container, schedule, CONFIG, 10, LIMITS)
            next(pieces)
            tracemalloc.start()
            for _ in pieces:
                pass
            _, found = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        return found

    assert peak(300.0) < 1.5 * peak(30.0) < 9e6


def test_a_gap_of_an_hour_takes_no_memory() -> None:
    pts_ms = (0, 3_600_000)
    data = render("matroska", Sound(codec="pcm_f32le", seconds=0.2, pts_ms=pts_ms))
    limits = Limits(max_duration_seconds=4_000.0)
    schedule = build_schedule(Span(0.0, 3_600.1), WindowConfig())
    with open_container(data, limits) as container:
        tracemalloc.start()
        sums = [float(np.abs(piece).sum()) for piece in decode_sound_pieces(container, schedule, CONFIG, 64, limits)]
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert len(sums) == -(-7_200 // 64)
    assert [place for place, total in enumerate(sums) if total] == [0, len(sums) - 1]
    assert peak < 20e6


def test_a_sound_of_which_nothing_decodes() -> None:
    data = render("mp4", Sound())
    start, stop = data.index(b"mdat") + 4, data.index(b"moov") - 4
    broken = data[:start] + b"\xff" * (stop - start) + data[stop:]
    with pytest.raises(UndecodableMedia, match=r"no sample came out of \d+ packets of codec aac"):
        in_pieces(broken, schedule_of(data), 4)


@given(
    parts=st.lists(st.tuples(st.integers(-500, 4_000), st.integers(1, 900)), min_size=1, max_size=6),
    num_hops=st.integers(1, 12),
    context=st.integers(0, 60),
    takes=st.lists(st.integers(1, 4), max_size=6),
)
@settings(max_examples=100, deadline=None)
def test_hops_are_cut_as_the_whole(parts: list[tuple[int, int]], num_hops: int, context: int, takes: list[int]) -> None:
    """Hops that are given while samples still come are those of which nothing more is to come."""
    parts = sorted(parts)
    line = np.zeros(6_000, dtype=np.float32)  # from -500 on
    cutter = HopCutter(num_hops, 100, context)
    given: list[NDArray[np.float32]] = []
    for number, (place, length) in enumerate(parts):
        line[500 + place : 500 + place + length] = number + 1
        cutter.write(place, np.full(length, number + 1, dtype=np.float32))
        following = parts[number + 1][0] if number + 1 < len(parts) else 10_000
        count = min(takes[number % len(takes)] if takes else 0, cutter.num_complete(following))
        if count:
            given.append(cutter.take(count))
    if cutter.num_left:
        given.append(cutter.take(cutter.num_left))
    config = AudioConfig(sample_rate=1_000, n_fft=10 + context, hop_length=10)
    schedule = Schedule(Span(0.0, num_hops * 0.1), 0.1, 4, num_hops)
    assert np.array_equal(np.concatenate(given), cut_samples(Waveform(line, 1_000, -0.5), schedule, config))
