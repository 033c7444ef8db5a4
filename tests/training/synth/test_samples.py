"""The clips of the demo and of the canary."""

from __future__ import annotations

import io
from collections.abc import Callable

import av
import pytest

from training.synth.render import RenderedClip
from training.synth.samples import CANARY_LABELS, DEMO_LABELS, render_canary, render_demo, render_sample


@pytest.mark.parametrize(
    ("render", "labels", "seconds"), [(render_canary, CANARY_LABELS, 9.0), (render_demo, DEMO_LABELS, 20.0)]
)
def test_samples_are_h264_and_aac(render: Callable[[], RenderedClip], labels: tuple[str, ...], seconds: float) -> None:
    rendered = render()
    with av.open(io.BytesIO(rendered.video)) as container:
        assert container.format.name.startswith("mov,mp4")
        assert container.streams.video[0].codec_context.name == "h264"
        assert container.streams.audio[0].codec_context.name == "aac"
    assert rendered.extension == "mp4"
    assert tuple(segment.label for segment in rendered.segments) == labels
    length = rendered.segments[-1].stop_seconds - rendered.segments[0].start_seconds
    assert length == pytest.approx(seconds, abs=0.07)
    assert rendered.words.startswith("WEBVTT\n\n")
    assert rendered.segments[0].start_seconds == 0
    assert len(rendered.video) < 600_000


def test_a_sample_is_a_function_of_its_arguments() -> None:
    labels, durations = ("wave_rise_greet",), (2.6,)
    assert render_sample(labels, durations, seed=5) == render_sample(labels, durations, seed=5)
    assert render_sample(labels, durations, seed=5).video != render_sample(labels, durations, seed=6).video


@pytest.mark.parametrize(
    ("labels", "durations", "message"),
    [
        (("walk",), (4.0,), "unknown label 'walk'"),
        (("wave_rise_greet",), (4.0, 4.0), "one duration for each label, got 1 and 2"),
        ((), (), "one duration for each label, got 0 and 0"),
        (("wave_rise_greet",), (1.0,), r"must lie in \[2\.6, 24\.0\], got \(1\.0,\)"),
    ],
)
def test_what_cannot_be_rendered(labels: tuple[str, ...], durations: tuple[float, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        render_sample(labels, durations)
