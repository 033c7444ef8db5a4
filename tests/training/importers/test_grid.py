from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import get_args

import pytest

from models.settings import SettingsError
from training.importers.grid import LETTERS, SPLIT_FILE, LetterSplits, Word, import_grid, masked_text, read_code
from training.manifest import ManifestError, read_manifest

CODES = ("bbaf2n", "lgbc1s", "pwitza", "sriz9p")


def publish(folder: Path, *codes: str) -> Path:
    (folder / "clips").mkdir(parents=True)
    for code in codes:
        (folder / "clips" / f"{code}.mp4").write_bytes(code.encode())
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
        ("bbaf2n.mp4", "at", "train", "f"),
        ("lgbc1s.mp4", "by", "val", "c"),
        ("pwitza.mp4", "in", "test", "t"),
        ("sriz9p.mp4", "in", "test", "z"),
    ]
    assert [entry.clip.read_bytes().decode() for entry in entries if entry.clip] == list(CODES)
    assert [entry.text.read_text(encoding="utf-8") for entry in entries if entry.text][:2] == [
        "bin blue mask f two now\n",
        "lay green mask c one soon\n",
    ]
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_folder_of_clips_will_do(tmp_path: Path) -> None:
    (tmp_path / "bbaf2n.mpg").write_bytes(b"")
    (tmp_path / "notes.txt").write_bytes(b"")
    assert len(read_manifest(import_grid(tmp_path, tmp_path / "out", "command"))) == 1
    (tmp_path / "bbaf2n.mpg").unlink()
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
