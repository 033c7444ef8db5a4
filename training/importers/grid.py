"""GRID: sentences of six words, spoken into a camera (Cooke, Barker, Cunningham and Shao 2006, JASA 120, 2421).

A speaker's folder has ``clips/CODE.mp4`` (other containers will do), or the clips themselves. The code names the
words: ``bbaf2n`` is *bin blue at f two now*. One of the words is the label, and its place in the text says ``mask``.

The sentences were designed, not drawn: the colour, the letter and the digit of a sentence occur together once, and with
the other words they give its command away: with a random split a small network reads 99 % of the held-out commands,
93 % of the prepositions, from the text without them. So the splits are by the letter, which the design runs over: then
it stays below chance for each word, and no sentence is in two splits.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, Self, get_args

from pydantic import model_validator

from models.settings import Settings
from training.manifest import ManifestEntry, ManifestError, Split, write_manifest

MANIFEST_NAME = "manifest.jsonl"
MASK = "mask"
SPLIT_FILE = Path(__file__).resolve().parents[2] / "config" / "splits" / "grid.yaml"

Word = Literal["command", "colour", "preposition", "letter", "digit", "adverb"]
"""The words of a sentence, in their order."""
LETTERS = "abcdefghijklmnopqrstuvxyz"  # w alone has three syllables, and was left out
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
VOCABULARY: Mapping[Word, Mapping[str, str]] = {
    "command": {"b": "bin", "l": "lay", "p": "place", "s": "set"},
    "colour": {"b": "blue", "g": "green", "r": "red", "w": "white"},
    "preposition": {"a": "at", "b": "by", "i": "in", "w": "with"},
    "letter": {letter: letter for letter in LETTERS},
    "digit": {"z" if number == 0 else str(number): word for number, word in enumerate(DIGITS)},
    "adverb": {"a": "again", "n": "now", "p": "please", "s": "soon"},
}
_CODE = re.compile("".join(f"[{''.join(words)}]" for words in VOCABULARY.values()))


class LetterSplits(Settings):
    """Which letters each split has: together each once."""

    train: str
    val: str
    test: str

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        if sorted(self.train + self.val + self.test) != list(LETTERS):
            raise ValueError(f"train, val and test must together have each of the letters {LETTERS} once")
        return self

    def split_of(self, letter: str) -> Split:
        """The split of the sentences with a letter."""
        return "train" if letter in self.train else "val" if letter in self.val else "test"


def read_code(code: str) -> dict[Word, str]:
    """The words of a sentence.

    Raises:
        ManifestError: when the code is none.
    """
    if not _CODE.fullmatch(code):
        raise ManifestError(f"{code!r} is no code of a GRID sentence, such as bbaf2n: bin blue at f two now")
    return {word: words[letter] for (word, words), letter in zip(VOCABULARY.items(), code, strict=True)}


def import_grid(
    folder: Path,
    output: Path,
    word: Word,
    *,
    splits: Path = SPLIT_FILE,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Copy the clips, write each one's words without the answer, and a manifest whose labels are the answers.

    Args:
        folder: a speaker's folder.
        output: folder for ``clips`` and ``manifest.jsonl``; made where it is missing.
        word: the one to be named.
        splits: which letters each split has.
        progress: called with the clips copied and all of them.

    Returns:
        The manifest; the group of a clip is its letter.

    Raises:
        ManifestError: when there is no clip, or one is not named by its code.
        SettingsError: when the splits cannot be used.
    """
    letters = LetterSplits.read_yaml(splits)
    sources = _find_clips(folder)
    sentences = [read_code(source.stem) for source in sources]
    clips = output / "clips"
    clips.mkdir(parents=True, exist_ok=True)
    entries = []
    for number, (source, sentence) in enumerate(zip(sources, sentences, strict=True), start=1):
        shutil.copyfile(source, clips / source.name)
        text = clips / f"{source.stem}.txt"
        text.write_text(masked_text(sentence, word) + "\n", encoding="utf-8")
        letter = sentence["letter"]
        entries.append(
            ManifestEntry(
                clip=clips / source.name,
                text=text,
                audio=None,
                segments=(),
                label=sentence[word],
                split=letters.split_of(letter),
                group=letter,
            )
        )
        if progress is not None:
            progress(number, len(sources))
    manifest = output / MANIFEST_NAME
    write_manifest(manifest, entries)
    return manifest


def masked_text(sentence: Mapping[Word, str], word: Word) -> str:
    """The sentence with ``mask`` in the place of the answer."""
    return " ".join(MASK if name == word else sentence[name] for name in get_args(Word))


def _find_clips(folder: Path) -> list[Path]:
    below = folder / "clips" if (folder / "clips").is_dir() else folder
    clips = sorted(path for path in below.iterdir() if path.suffix.lower() in {".mp4", ".mpg", ".avi", ".mkv"})
    if not clips:
        raise ManifestError(f"{folder} is no speaker of GRID: it has neither clips nor a folder clips with them")
    return clips
