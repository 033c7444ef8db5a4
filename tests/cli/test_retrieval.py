"""The commands of retrieval, from files to answers, in the process."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.app import app
from cli.errors import CommandError
from models.pretrained.weights import quiet_transformers
from tests.pretrained_factory import tiny_clap, tiny_clip
from tests.retrieval.towers import write_sound, write_towers, write_video
from tests.zero_shot import assembled, recipe_values


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def asked(index: Path, *arguments: str) -> list[dict[str, object]]:
    result = CliRunner().invoke(app, ["search", str(index), *arguments, "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    moments: list[dict[str, object]] = json.loads(result.stdout)["moments"]
    return moments


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media")
    write_video(folder / "a [b]" / "clip.mp4", num_frames=100)
    (folder / "a [b]" / "clip.txt").write_text("stir the soup", encoding="utf-8")
    write_sound(folder / os.fsdecode(b"\xff.wav"), hertz=300)
    write_sound(folder / "high.wav", hertz=3000, seconds=5.0)
    (folder / "broken.mp4").write_bytes(b"nothing")
    return folder


@pytest.fixture(scope="module")
def index(media: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    checkpoint = write_towers(tmp_path_factory.mktemp("towers"))
    folder = tmp_path_factory.mktemp("index")
    said = run("index", str(media), "--checkpoint", str(checkpoint), "-o", str(folder))
    assert "3 files embedded, 0 as they were, 0 gone" in said
    assert "1 files are not in the index:\n  broken.mp4: " in said
    assert "0 files embedded, 3 as they were" in run(
        "index", str(media), "--checkpoint", str(checkpoint), "-o", str(folder)
    )
    return folder


def test_a_text_finds_its_words(index: Path, media: Path) -> None:
    moments = asked(index, "stir the soup", "--modality", "text")
    assert [moment["file"] for moment in moments] == [str(media / "a [b]" / "clip.mp4")] * 2
    assert moments[0]["cosines"] == {"text": pytest.approx(1.0, abs=1e-5)}
    assert [moment["start_seconds"] for moment in moments] == [0.0, 2.0]


def test_a_sound_and_a_clip_find_themselves(index: Path, media: Path) -> None:
    (first, *_) = asked(index, "--sound", str(media / "high.wav"))
    assert first["file"] == str(media / "high.wav")
    assert first["modality"] == "audio"
    (first, *_) = asked(index, "--clip", str(media / "a [b]" / "clip.mp4"), "--top", "1")
    assert first["file"] == str(media / "a [b]" / "clip.mp4")
    (first,) = asked(index, "--sound", str(media / "high.wav"), "--modality", "video", "--top", "1")
    assert set(first["cosines"]) == {"video"}  # type: ignore[call-overload]


def test_a_table_for_people(index: Path) -> None:
    shown = run("search", str(index), "stir the soup")
    assert "a [b]/clip.mp4" in shown
    assert "\\udcff.wav" in shown
    assert "│ text 1.00, " in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "needs one of TEXT, --clip and --sound"),
        (["  "], "needs one of TEXT, --clip and --sound"),
        (["a\udcff"], "TEXT is no UTF-8"),
        (["words", "--modality", "smell"], "the index has nothing of smell: it has"),
    ],
)
def test_what_cannot_be_asked(index: Path, arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(app, ["search", str(index), *arguments])
    assert isinstance(result.exception, CommandError)
    assert message in str(result.exception)


def test_faults_are_said_with_what_to_do(index: Path, media: Path, tmp_path: Path) -> None:
    other = write_towers(tmp_path / "other", seed=3)
    empty = tmp_path / "empty"
    empty.mkdir()
    given = ["--checkpoint", str(other), "-o", str(index)]
    cases = [
        (["search", str(empty), "words"], "is no index"),
        (["search", str(index), "words", "--checkpoint", str(other)], "made by another checkpoint"),
        (["index", str(media), *given], "was made by another checkpoint"),
        (["index", str(empty), *given], "has no media file that the checkpoint can embed"),
        (["index", str(tmp_path / "nowhere"), *given], "there is no folder or manifest"),
        (["index", str(media), "--checkpoint", str(empty), "-o", str(tmp_path / "x")], "is no checkpoint"),
    ]
    for arguments, message in cases:
        result = CliRunner().invoke(app, arguments)
        assert isinstance(result.exception, CommandError), result.output
        assert message in str(result.exception)


def test_a_manifest_and_its_recall(media: Path, tmp_path: Path) -> None:
    checkpoint = write_towers(tmp_path / "towers")
    lines = [
        {"clip": "a [b]/clip.mp4", "text": "a [b]/clip.txt", "label": "stir", "split": "test"},
        {"audio": "high.wav", "label": "chop"},
    ]
    manifest = media / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    said = run("index", str(manifest), "--checkpoint", str(checkpoint), "-o", str(tmp_path / "index"))
    assert "2 files embedded" in said
    twice = manifest.with_name("twice.jsonl")
    twice.write_text(2 * (json.dumps(lines[1]) + "\n"), encoding="utf-8")
    result = CliRunner().invoke(app, ["index", str(twice), "--checkpoint", str(checkpoint), "-o", str(tmp_path / "i")])
    assert "twice.jsonl lists high.wav twice" in str(result.exception)
    report = tmp_path / "recall.json"
    shown = run("recall", str(checkpoint), "--data", str(manifest), "--split", "test", "-o", str(report))
    assert "2 windows, 1 clips" in shown
    directions = {(it["asked"], *it["found"]): it for it in json.loads(report.read_text())["directions"]}
    assert set(directions) == {
        *(("video", "audio"), ("audio", "video"), ("text", "video"), ("video", "text")),
        *(("text", "audio"), ("audio", "text"), ("text", "video", "audio")),
    }
    assert directions["video", "audio"]["chance"] == {"1": 0.5, "5": 1.0, "10": 1.0}


def test_pretrained_towers_are_searched_in_their_spaces(media: Path, tmp_path: Path) -> None:
    with quiet_transformers():
        clip, clap = tiny_clip(tmp_path / "clip"), tiny_clap(tmp_path / "clap")
    checkpoint = assembled(tmp_path / "both", recipe_values(video=clip, audio=clap))
    said = run("index", str(media), "--checkpoint", str(checkpoint), "-o", str(tmp_path / "index"))
    assert "of audio" in said
    moments = asked(tmp_path / "index", "pour milk")
    assert {name for moment in moments for name in moment["cosines"]} == {"video", "audio"}  # type: ignore[attr-defined]
    (first, *_) = asked(tmp_path / "index", "--sound", str(media / "high.wav"))
    assert first["file"] == str(media / "high.wav")
