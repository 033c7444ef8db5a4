"""Datasets of events: real files, labels in equal numbers, the same bytes for the same seed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.training.synth.pictures import decode_picture, decode_sound
from tests.training.synth.test_render import digests
from training.manifest import read_ceilings, read_manifest
from training.synth.dataset import RenderSettings
from training.synth.events.render import render_events
from training.synth.events.views import EVENTS


def test_a_dataset_of_events(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    settings = RenderSettings(6, 4, val_fraction=0.5)
    manifest = render_events(tmp_path / "one", settings, progress=lambda *numbers: calls.append(numbers))
    render_events(tmp_path / "two", settings)
    assert calls == [(number, 6) for number in range(1, 7)]
    assert digests(tmp_path / "one") == digests(tmp_path / "two")
    entries = read_manifest(manifest)
    assert Counter(entry.label for entry in entries) == dict.fromkeys(EVENTS, 2)
    assert Counter(entry.split for entry in entries) == {"train": 3, "val": 3}
    for entry in entries:
        assert (entry.clip, entry.text, entry.segments) == (None, None, ())
        assert entry.image is not None
        assert entry.audio is not None
        assert entry.tabular is not None
        assert decode_picture(entry.image.read_bytes()).shape[2] == 3
        samples, sample_rate = decode_sound(entry.audio.read_bytes())
        assert len(samples) == 2 * sample_rate
        assert len(entry.tabular.read_text(encoding="utf-8").splitlines()) == 2
    ceilings = read_ceilings(manifest)
    assert ceilings is not None
    assert round(ceilings(["tabular", "image", "audio"]) or 0, 3) == 0.924


def test_a_larger_dataset_begins_with_the_same_clips(tmp_path: Path) -> None:
    small, large = (render_events(tmp_path / str(number), RenderSettings(number, 9)) for number in (2, 4))
    for one, other in zip(read_manifest(small), read_manifest(large), strict=False):
        assert one.label == other.label
        assert {name: path.read_bytes() for name, path in one.files.items()} == {
            name: path.read_bytes() for name, path in other.files.items()
        }
