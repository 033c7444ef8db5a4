"""Datasets of remarks: clips of picture and sound with their words; a view changes its own modality only."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from tests.training.synth.scripts import decode
from tests.training.synth.test_render import digests
from training.manifest import read_ceilings, read_manifest
from training.synth.dataset import RenderSettings
from training.synth.sentiment.render import render_remark, render_sentiment
from training.synth.sentiment.script import draw_remark
from training.synth.sentiment.views import FACE, SENTIMENTS


def test_a_dataset_of_remarks(tmp_path: Path) -> None:
    manifest = render_sentiment(tmp_path / "one", RenderSettings(3, 4))
    render_sentiment(tmp_path / "two", RenderSettings(3, 4))
    assert digests(tmp_path / "one") == digests(tmp_path / "two")
    entries = read_manifest(manifest)
    assert Counter(entry.label for entry in entries) == dict.fromkeys(SENTIMENTS, 1)
    for entry in entries:
        assert entry.clip is not None
        assert entry.text is not None
        assert entry.segments == ()
        words = entry.text.read_text(encoding="utf-8")
        assert (entry.text.suffix == ".vtt") == words.startswith("WEBVTT\n\n")
    ceilings = read_ceilings(manifest)
    assert ceilings is not None
    assert round(ceilings(["text", "video", "audio"]) or 0, 3) == 0.886


def test_a_clip_decodes_to_its_script() -> None:
    script = draw_remark((8, 1), 2)
    decoded = decode(render_remark(script).video)
    assert decoded.frame_seconds == script.timeline.frame_seconds
    assert decoded.frames.shape[1:3] == (script.height, script.width)
    assert decoded.sample_rate == script.timeline.sample_rate
    length = script.timeline.stop_sample - script.timeline.first_sample
    assert 0 <= decoded.samples.shape[1] - length <= 2048
    assert np.abs(decoded.samples).max() > 0.5 * script.prosody.peak


def test_views_change_their_own_modality_only() -> None:
    script = draw_remark((8, 2), 1)
    base = decode(render_remark(script).video)
    face = decode(render_remark(replace(script, face=replace(script.face, view=(script.face.view + 1) % 3))).video)
    voice = replace(script, prosody=replace(script.prosody, view=(script.prosody.view + 1) % 3))
    spoken = decode(render_remark(voice).video)
    assert np.array_equal(face.samples, base.samples)
    assert not np.array_equal(face.frames, base.frames)
    assert np.array_equal(spoken.frames, base.frames)
    assert not np.array_equal(spoken.samples, base.samples)
    assert render_remark(voice).words == render_remark(script).words


def test_views_come_as_often_as_their_channels_say() -> None:
    for sentiment in range(3):
        counts = Counter(draw_remark((11, index), sentiment).face.view for index in range(400))
        np.testing.assert_allclose([counts[view] / 400 for view in range(3)], FACE[:, sentiment], atol=0.09)


def test_the_sentiment_decides_over_views_only() -> None:
    """Whatever the sentiment, a clip of one seed and index has the same frame, times and looks."""
    one, other = draw_remark((3, 7), 0), draw_remark((3, 7), 2)
    assert (one.timeline, one.width, one.height, one.timed) == (other.timeline, other.width, other.height, other.timed)
    assert replace(one.face, view=0) == replace(other.face, view=0)
    assert replace(one.prosody, view=0) == replace(other.prosody, view=0)
