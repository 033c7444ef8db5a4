"""Datasets of moments: the sound keeps step with the picture, and the words say what is seen and heard."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.training.synth.test_render import digests
from training.manifest import read_ceilings, read_manifest
from training.synth.dataset import RenderSettings
from training.synth.dealing import deal_clip
from training.synth.moments.captions import TEMPLATES, write_caption
from training.synth.moments.render import draw_moments, render_moments, write_captions
from training.synth.script import ClipScript
from training.synth.sound import render_chirps


def draw(index: int) -> ClipScript:
    return draw_moments((5, index), deal_clip(5, index))


def test_a_dataset_of_moments(tmp_path: Path) -> None:
    manifest = render_moments(tmp_path / "one", RenderSettings(2, 4))
    render_moments(tmp_path / "two", RenderSettings(2, 4))
    assert digests(tmp_path / "one") == digests(tmp_path / "two")
    for entry in read_manifest(manifest):
        assert entry.text is not None
        assert set(entry.labels) <= {"wave_rise", "wave_fall", "bounce_rise", "bounce_fall"}
        assert entry.text.read_text(encoding="utf-8").count("-->") >= len(entry.segments)
    ceilings = read_ceilings(manifest)
    assert ceilings is not None
    assert [ceilings(names) for names in (["video"], ["audio", "video"], ["text"])] == [0.5, 1.0, 1.0]


@pytest.mark.parametrize("index", range(4))
def test_a_chirp_begins_at_each_turn_of_the_swing(index: int) -> None:
    for part in draw(index).segments:
        seconds = np.arange(0, 3, 1e-4)
        places = np.array([part.motion.position(part.activity.motion, t)[part.activity.motion] for t in seconds])
        turns = seconds[1:-1][np.diff(np.sign(np.diff(places))) != 0]
        sounding = render_chirps(part.chirps, part.activity.sound, seconds) != 0
        within = (seconds + part.chirps.shift * part.chirps.period_seconds) % part.chirps.period_seconds
        begins = seconds[1:][np.diff(within) < 0]
        assert len(turns) > 5
        np.testing.assert_allclose(begins, turns, atol=3e-4)
        assert 0.6 < sounding.mean() < 0.8


def test_a_caption_says_what_is_drawn() -> None:
    script = draw(0)
    (part, *_) = script.segments
    sprite = replace(script.scene.sprite, shape="ring", colour=(150.0, 160.0, 90.0))
    scene = replace(script.scene, sprite=sprite, colours=((60.0, 128.0, 128.0), (60.0, 128.0, 128.0)))
    script = replace(script, scene=scene, room=replace(script.room, distractor="hum"))
    part = replace(
        part,
        activity=replace(part.activity, motion=1, sound=0),
        motion=replace(part.motion, frequency_hz=1.9),
        chirps=replace(part.chirps, low_hz=420.0),
    )
    said = [write_caption(script, part, template) for template in range(len(TEMPLATES))]
    assert said[0] == "a blue ring on dark ground bounces quickly while a low tone rises over a hum"
    assert said[2] == "a low tone rises over a hum as a blue ring bounces quickly on dark ground"
    assert len(set(said)) == len(TEMPLATES)


def test_each_segment_has_one_cue_inside_it() -> None:
    script = draw(1)
    cues = [line for line in write_captions(script).splitlines() if "-->" in line]
    assert len(cues) == len(script.segments)
    first = script.segments[0]
    start, stop = math.ceil(first.start_seconds * 1000), math.floor(first.stop_seconds * 1000)
    assert cues[0].split(" --> ") == [f"00:00:{ms // 1000:02d}.{ms % 1000:03d}" for ms in (start, stop)]
