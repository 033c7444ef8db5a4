"""Real files: pts, start offsets and the edge of the sound survive the container."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.training.synth.scripts import Decoded, decode, find_script
from training.synth.drawing import draw_frames
from training.synth.encode import encode_clip
from training.synth.script import ClipScript
from training.synth.sound import render_waveform

Wanted = Callable[[ClipScript], bool]


def is_late(script: ClipScript) -> bool:
    return script.timeline.edges_seconds[0] > Fraction(1, 2)


def picture_lead_seconds(script: ClipScript) -> Fraction:
    timeline = script.timeline
    return Fraction(timeline.first_sample, timeline.sample_rate) - timeline.frame_seconds[0]


def is_variable(script: ClipScript) -> bool:
    return len(set(np.diff(script.timeline.frame_pts))) > 3


CASES: dict[str, Wanted] = {
    "mp4, both at zero": lambda s: s.container == "mp4" and not is_late(s) and not picture_lead_seconds(s),
    "mp4, late, sound first": lambda s: s.container == "mp4" and is_late(s) and picture_lead_seconds(s) < -0.1,
    "mp4, sound later": lambda s: s.container == "mp4" and not is_late(s) and picture_lead_seconds(s) > 0.1,
    "mp4, 29.97": lambda s: s.container == "mp4" and s.timeline.tick_seconds == Fraction(1001, 30_000) and is_late(s),
    "mp4, variable": lambda s: s.container == "mp4" and is_variable(s) and len(s.room.balance) == 1,
    "webm, both at zero": lambda s: s.container == "webm" and not is_late(s) and not picture_lead_seconds(s),
    "webm, late, sound later": lambda s: s.container == "webm" and is_late(s) and picture_lead_seconds(s) > 0.1,
}


@pytest.fixture(scope="module", params=list(CASES))
def case(request: pytest.FixtureRequest) -> tuple[ClipScript, NDArray[np.float32], Decoded]:
    """A script, its waveform, and what is decoded of its bytes."""
    script = find_script(CASES[request.param])
    waveform = render_waveform(script)
    return script, waveform, decode(encode_clip(script, draw_frames(script), waveform))


def test_every_frame_has_its_pts(case: tuple[ClipScript, NDArray[np.float32], Decoded]) -> None:
    script, _, decoded = case
    assert decoded.frame_seconds == script.timeline.frame_seconds
    assert decoded.frames.shape[1:] == (120, 160, 3)


def test_sound_begins_at_its_offset(case: tuple[ClipScript, NDArray[np.float32], Decoded]) -> None:
    """AAC that starts late keeps its 1,024 samples of priming before the start; Opus is true to a millisecond."""
    script, waveform, decoded = case
    timeline = script.timeline
    assert decoded.sample_rate == timeline.sample_rate
    assert len(decoded.samples) == len(waveform)
    early = Fraction(timeline.first_sample, timeline.sample_rate) - decoded.audio_start_seconds
    priming = 1024 if script.container == "mp4" and timeline.first_sample else 0
    assert float(early) == pytest.approx(priming / timeline.sample_rate, abs=0.0011)


def test_sound_changes_at_the_edge(case: tuple[ClipScript, NDArray[np.float32], Decoded]) -> None:
    """Around the edge the decoded sound is the rendered one, to the sample (webm: to a millisecond)."""
    script, waveform, decoded = case
    timeline = script.timeline
    edge = timeline.sample_at(script.segments[0].stop_seconds)
    half = round(0.15 * timeline.sample_rate)
    first = timeline.first_sample - round(decoded.audio_start_seconds * timeline.sample_rate)
    rendered = waveform[0, edge - half : edge + half]

    def error(lag: int) -> float:
        heard = decoded.samples[0, first + edge - half + lag : first + edge + half + lag]
        return float(np.mean((heard - rendered) ** 2) / np.mean(rendered**2))

    most = 1 if script.container == "mp4" else timeline.sample_rate // 1000
    errors = {lag: error(lag) for lag in range(-2 * most - 8, 2 * most + 9)}
    best = min(errors, key=errors.__getitem__)
    assert abs(best) <= most
    assert errors[best] < 0.25


def test_the_picture_changes_at_the_edge(case: tuple[ClipScript, NDArray[np.float32], Decoded]) -> None:
    """The frame at the edge is the second activity's first one, the frame before it the first activity's last one."""
    script, _, decoded = case
    at = script.timeline.frame_seconds.index(script.segments[1].start_seconds)
    drawn = [frame[:120].astype(float) for frame in draw_frames(script)]
    for index in (at - 1, at):
        shown = decoded.frames[index].mean(axis=2)
        likeness = [np.corrcoef(frame.ravel(), shown.ravel())[0, 1] for frame in drawn[at - 6 : at + 6]]
        assert np.argmax(likeness) == index - (at - 6)
        assert max(likeness) > 0.9


@pytest.mark.parametrize("container", ["mp4", "webm"])
def test_the_same_script_gives_the_same_bytes(container: str) -> None:
    script = find_script(lambda script: script.container == container)
    one, other = (encode_clip(script, draw_frames(script), render_waveform(script)) for _ in range(2))
    assert one == other
    assert len(one) > 10_000
