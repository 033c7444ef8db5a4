from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from handler.audio import decode_waveform
from handler.container import open_container
from handler.limits import Limits
from handler.video import decode_frames
from models.settings import SettingsError
from tests.media import X264, Picture, Sound, nearest_place, render, sine
from training.importers.grid import LETTERS, SPLIT_FILE, LetterSplits, Word, import_grid, masked_text, read_code
from training.manifest import ManifestError, read_manifest

CODES = ("bbaf2n", "lgbc1s", "pwitza", "sriz9p")


def publish(folder: Path, *codes: str, seconds: float = 3.0) -> Path:
    """A speaker's folder; each clip's six words take 0.2 s each, from 1 s on, after half a second of a pause."""
    clip = render(
        "mov", Picture(num_frames=round(25 * seconds), options=X264), Sound(codec="pcm_f32le", seconds=seconds)
    )
    for name in ("clips", "align"):
        (folder / name).mkdir(parents=True)
    for code in codes:
        (folder / "clips" / f"{code}.mov").write_bytes(clip)
        lines = ["0 12500 sil", "12500 25000 sp"]
        for number, word in enumerate(read_code(code).values()):
            lines.append(f"{25_000 + 5_000 * number} {30_000 + 5_000 * number} {word}")
        (folder / "align" / f"{code}.align").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def test_a_code_is_a_sentence() -> None:
    sentence = read_code("pwitza")
    assert list(sentence.values()) == ["place", "white", "in", "t", "zero", "again"]
    assert list(sentence) == list(get_args(Word))


@pytest.mark.parametrize("code", ["bbaw2n", "bbaf2", "bbaf2nn", "xbaf2n", "holiday"])
def test_what_is_no_code_is_refused(code: str) -> None:
    with pytest.raises(ManifestError, match=f"'{code}' is no code of a GRID sentence, such as bbaf2n"):
        read_code(code)


@pytest.mark.parametrize("word", get_args(Word))
def test_the_text_has_no_answer(word: Word) -> None:
    for code in CODES:
        sentence = read_code(code)
        words = masked_text(sentence, word).split()
        assert words.count("mask") == 1
        assert words.index("mask") == get_args(Word).index(word)
        assert [*words[: words.index("mask")], *words[words.index("mask") + 1 :]] == [
            sentence[other] for other in get_args(Word) if other != word
        ]


def test_a_manifest_of_a_word(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    manifest = import_grid(
        publish(tmp_path / "in", *CODES), tmp_path / "out", "preposition", progress=lambda *done: seen.append(done)
    )
    entries = read_manifest(manifest)
    assert [(entry.name, entry.label, entry.split, entry.group) for entry in entries] == [
        ("bbaf2n.mkv", "at", "train", "f"),
        ("lgbc1s.mkv", "by", "val", "c"),
        ("pwitza.mkv", "in", "test", "t"),
        ("sriz9p.mkv", "in", "test", "z"),
    ]
    assert [entry.text.read_text(encoding="utf-8") for entry in entries if entry.text][:2] == [
        "bin blue mask f two now\n",
        "lay green mask c one soon\n",
    ]
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize(
    ("word", "seconds", "first"),
    [("command", 3.0, 13), ("adverb", 3.0, 38), ("adverb", 2.24, 26), ("command", 1.0, 0)],
)
def test_a_clip_is_the_time_around_its_word(tmp_path: Path, word: Word, seconds: float, first: int) -> None:
    """The middles are at 1.1 s and 2.1 s; a piece begins with a frame, inside its clip where that is as long."""
    (entry,) = read_manifest(import_grid(publish(tmp_path / "in", "bbaf2n", seconds=seconds), tmp_path / "out", word))
    assert entry.clip is not None
    with open_container(entry.clip.read_bytes(), Limits()) as container:
        assert container.span.stop_seconds == pytest.approx(1.2)
        frames = decode_frames(container, np.array([0.02, 0.5]), 16, Limits())
        sound = decode_waveform(container, 16_000, Limits())
    assert [nearest_place(frame) for frame in frames] == [first % 40, (first + 12) % 40]
    heard = sine(Sound(seconds=seconds)).ravel()[640 * first : 640 * first + 19_200]
    assert np.abs(sound.samples[: len(heard)] - heard).max() < 1e-6
    assert not sound.samples[len(heard) :].any()


def test_what_is_aligned_otherwise_is_refused(tmp_path: Path) -> None:
    folder = publish(tmp_path / "in", "bbaf2n")
    (folder / "align" / "bbaf2n.align").write_text("0 5000 bin\n", encoding="utf-8")
    with pytest.raises(ManifestError, match=r"bbaf2n\.align does not have the words bin blue at f two now, one a line"):
        import_grid(folder, tmp_path / "out", "command")


def test_a_clip_that_does_not_decode_is_named(tmp_path: Path) -> None:
    folder = publish(tmp_path / "in", "bbaf2n")
    (folder / "clips" / "bbaf2n.mov").write_bytes(b"no clip")
    with pytest.raises(ManifestError, match=r"bbaf2n\.mov cannot be cut: "):
        import_grid(folder, tmp_path / "out", "command")


def test_a_folder_without_clips_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="it has neither clips nor a folder clips with them"):
        import_grid(tmp_path, tmp_path / "out", "command")


def test_the_splits_tear_no_letter_apart() -> None:
    splits = LetterSplits.read_yaml(SPLIT_FILE)
    for one, other in combinations((splits.train, splits.val, splits.test), 2):
        assert not set(one) & set(other)
    assert {letter: splits.split_of(letter) for letter in "ace"} == {"a": "train", "c": "val", "e": "test"}


@pytest.mark.parametrize(("train", "val"), [(LETTERS[1:], "a"), (LETTERS, "a"), (LETTERS[3:], "a")])
def test_splits_that_share_or_lack_a_letter_are_refused(tmp_path: Path, train: str, val: str) -> None:
    path = tmp_path / "splits.yaml"
    path.write_text(f"train: {train}\nval: {val}\ntest: b\n", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"splits.yaml: .*must together have each of the letters abc.* once"):
        import_grid(publish(tmp_path / "in", *CODES), tmp_path / "out", "command", splits=path)


def test_whole_clips_keep_their_sentence(tmp_path: Path) -> None:
    source = publish(tmp_path / "in", "lgbc1s")
    (entry,) = read_manifest(import_grid(source, tmp_path / "out", "colour", whole=True))
    assert entry.clip is not None
    assert entry.text is not None
    assert entry.clip.read_bytes() == (source / "clips" / "lgbc1s.mov").read_bytes()
    assert entry.text.read_text(encoding="utf-8") == "lay green by c one soon\n"
    assert (entry.label, entry.split, entry.group) == ("green", "val", "c")
