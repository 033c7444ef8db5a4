"""Datasets: files, list and words agree; the same seed gives the same bytes in one process or two."""

from __future__ import annotations

import hashlib
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.training.synth.scripts import find_script
from training.manifest import read_ceilings, read_manifest
from training.synth.dealing import deal_clip
from training.synth.labels import Activity
from training.synth.phrases import SYNONYMS
from training.synth.render import merge_segments, render_clip, render_dataset, render_script, write_words
from training.synth.script import ClipScript


def digests(folder: Path) -> dict[str, str]:
    return {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def test_a_dataset_is_a_function_of_its_seed(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    manifest = render_dataset(
        tmp_path / "one", 3, 21, val_fraction=0.34, jobs=1, progress=lambda done, total: calls.append((done, total))
    )
    assert calls == [(1, 3), (2, 3), (3, 3)]
    assert manifest == tmp_path / "one" / "manifest.jsonl"
    render_dataset(tmp_path / "two", 3, 21, val_fraction=0.34, jobs=2)
    assert digests(tmp_path / "one") == digests(tmp_path / "two")

    assert json.loads((tmp_path / "one" / "dataset.json").read_text(encoding="utf-8")) == {
        "generator": "activity synth",
        "seed": 21,
        "clips": 3,
        "ceilings": {
            "video": 0.25,
            "audio": 0.25,
            "text": 0.25,
            "video+audio": 0.5,
            "video+text": 0.5,
            "audio+text": 0.5,
            "video+audio+text": 1.0,
        },
    }
    ceilings = read_ceilings(manifest)
    assert ceilings is not None
    assert (ceilings(["text", "video"]), ceilings(["audio"])) == (0.5, 0.25)

    entries = read_manifest(manifest)
    assert sorted(str(entry.split) for entry in entries) == ["train", "train", "val"]
    for index, entry in enumerate(entries):
        assert tuple(segment.label for segment in entry.segments) == tuple(
            activity.label for activity in deal_clip(21, index).activities
        )
        assert all(a.stop_seconds == b.start_seconds for a, b in zip(entry.segments, entry.segments[1:], strict=False))
        assert entry.audio is None
        assert entry.clip is not None
        assert entry.text == entry.clip.with_suffix(".vtt")
    rendered = render_clip(21, 2)
    assert entries[2].clip is not None
    assert rendered.video == entries[2].clip.read_bytes()
    assert entries[2].text is not None
    assert rendered.words == entries[2].text.read_text(encoding="utf-8")
    assert rendered.segments == entries[2].segments
    assert entries[2].clip.name == f"000002.{rendered.extension}"


def test_tracks_and_labels_of_fewer_bits_change_nothing_else(tmp_path: Path) -> None:
    plain = read_manifest(render_dataset(tmp_path / "plain", 2, 21))
    manifest = render_dataset(tmp_path / "more", 2, 21, tracks=("depth", "imu"), bits=("sound", "motion"))
    for before, after in zip(plain, read_manifest(manifest), strict=True):
        assert before.clip is not None
        assert after.clip is not None
        assert after.clip.read_bytes() == before.clip.read_bytes()
        assert (before.vectors, before.depth) == ({}, None)
        assert after.vectors == {"imu": after.clip.with_suffix(".imu.csv")}
        assert after.depth is not None
        assert {label.count("_") for label in after.labels} == {1}
        assert after.segments[0].start_seconds == before.segments[0].start_seconds
        assert after.segments[-1].stop_seconds == before.segments[-1].stop_seconds
        assert all(a.label != b.label for a, b in pairwise(after.segments))
    ceilings = read_ceilings(manifest)
    assert ceilings is not None
    assert [ceilings([name]) for name in ("video", "audio", "text", "imu", "depth")] == [0.5, 0.5, 0.25, 0.5, 0.5]
    assert (ceilings(["video", "imu", "depth"]), ceilings(["imu", "audio"])) == (0.5, 1.0)


def test_neighbours_of_one_label_become_one_segment() -> None:
    script = find_script(lambda _: True, Activity(0, 0, 1), Activity(0, 0, 0))
    assert [part.label for part in merge_segments(script, ["phrase"])] == ["leave", "greet"]
    (whole,) = merge_segments(script, ["motion", "sound"])
    assert whole.label == "wave_rise"
    assert (whole.start_seconds, whole.stop_seconds) == (
        float(script.segments[0].start_seconds),
        float(script.segments[1].stop_seconds),
    )


@pytest.mark.parametrize("arguments", [{"tracks": ["gps"]}, {"bits": []}, {"bits": ["smell"]}])
def test_tracks_and_bits_that_are_not_there(tmp_path: Path, arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="tracks are of imu, depth and bits of motion, sound, phrase"):
        render_dataset(tmp_path, 1, 0, **arguments)


def test_an_interrupted_render_leaves_no_manifest(tmp_path: Path) -> None:
    (tmp_path / "manifest.jsonl").write_text("of an earlier render", encoding="utf-8")

    def interrupt(*_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render_dataset(tmp_path, 2, 22, progress=interrupt)
    assert not (tmp_path / "manifest.jsonl").exists()


def test_words_say_the_phrase_of_their_activity() -> None:
    script = find_script(lambda _: True, Activity(0, 0, 1), Activity(0, 0, 0))
    header, *blocks = write_words(script).split("\n\n")
    assert header == "WEBVTT"
    cues = [(segment, cue) for segment in script.segments for cue in segment.cues]
    assert len(blocks) == len(cues) >= 4
    for block, (segment, cue) in zip(blocks, cues, strict=True):
        times, text = block.strip().split("\n")
        start, arrow, stop = times.split(" ")
        assert arrow == "-->"
        assert _milliseconds(start) == cue.start_ms
        assert _milliseconds(stop) == cue.stop_ms
        assert any(synonym in text for synonym in SYNONYMS[segment.activity.phrase])


def _milliseconds(timestamp: str) -> int:
    hours, minutes, seconds = timestamp.split(":")
    assert [len(part) for part in (hours, minutes, seconds)] == [2, 2, 6]
    return (int(hours) * 60 + int(minutes)) * 60_000 + int(seconds.replace(".", ""))


def test_flipping_one_bit_changes_one_modality_only() -> None:
    """Nothing of a bit leaks into the bytes of another modality."""
    base = render_script(find_script(_is_mp4, Activity(0, 0, 0)))
    phrase = render_script(find_script(_is_mp4, Activity(0, 0, 1)))
    assert phrase.video == base.video
    assert phrase.words != base.words
    for flipped in (Activity(1, 0, 0), Activity(0, 1, 0)):
        rendered = render_script(find_script(_is_mp4, flipped))
        assert rendered.words == base.words
        assert rendered.video != base.video


def _is_mp4(script: ClipScript) -> bool:
    return script.container == "mp4"


@pytest.mark.parametrize(
    "arguments", [{"num_clips": 0}, {"seed": -1}, {"jobs": 0}, {"val_fraction": 1.5}, {"val_fraction": float("nan")}]
)
def test_arguments_out_of_range(tmp_path: Path, arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"needs num_clips >= 1, seed >= 0, jobs >= 1 and val_fraction in \[0, 1\]"):
        render_dataset(tmp_path, **{"num_clips": 1, "seed": 0, **arguments})  # type: ignore[arg-type]
