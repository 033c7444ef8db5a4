"""GRID: sentences of six words, spoken into a camera (Cooke, Barker, Cunningham and Shao 2006, JASA 120, 2421).

A speaker's folder has ``clips/CODE.mp4`` (other containers will do) and ``align/CODE.align``, which says when each
word is spoken. The code names the words: ``bbaf2n`` is *bin blue at f two now*. One of the words is the label. Each
clip is cut to the 1.2 s around the middle of that word, always as long, so that its length tells nothing; the text is
the whole sentence with ``mask`` in the word's place. For retrieval clips and sentences stay whole.

The sentences were designed, not drawn: the colour, the letter and the digit of a sentence occur together once, and with
the other words they give its command away: with a random split a small network reads 99 % of the held-out commands,
93 % of the prepositions, from the text without them. So the splits are by the letter, which the design runs over: then
it stays below chance for each word, and no sentence is in two splits.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, Self, get_args

import av
from pydantic import model_validator

from models.settings import Settings
from training.importers.cut import cut_clip
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
WINDOW_SECONDS = 1.2  # a word of 0.1 to 0.5 s and some of its neighbours, which it colours
FRAMES_A_SECOND = 25
ALIGN_UNITS = 25_000  # a second, as the aligned files count
SILENCE = frozenset({"sil", "sp"})
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
    whole: bool = False,
    splits: Path = SPLIT_FILE,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Cut the clips, write each one's words without the answer, and a manifest whose labels are the answers.

    Args:
        folder: a speaker's folder.
        output: folder for ``clips`` and ``manifest.jsonl``; made where it is missing.
        word: the one to be named.
        whole: leave clips and sentences whole, with nothing hidden: for retrieval, where the words are what is asked.
        splits: which letters each split has.
        progress: called with the clips cut and all of them.

    Returns:
        The manifest; the group of a clip is its letter.

    Raises:
        ManifestError: when there is no clip, or one is not named by its code or aligned otherwise.
        FileNotFoundError: when a clip has no aligned words.
        SettingsError: when the splits cannot be used.
    """
    letters = LetterSplits.read_yaml(splits)
    sources = _find_clips(folder)
    clips = output / "clips"
    clips.mkdir(parents=True, exist_ok=True)
    entries = []
    for number, source in enumerate(sources, start=1):
        sentence = read_code(source.stem)
        text = clips / f"{source.stem}.txt"
        if whole:
            clip, words = clips / source.name, " ".join(sentence.values())
            clip.write_bytes(source.read_bytes())
        else:
            middle = _middle_seconds(folder / "align" / f"{source.stem}.align", sentence, word)
            clip, words = clips / f"{source.stem}.mkv", masked_text(sentence, word)
            clip.write_bytes(_cut(source, middle))
        text.write_text(words + "\n", encoding="utf-8")
        letter = sentence["letter"]
        entries.append(
            ManifestEntry(
                clip=clip,
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


def _middle_seconds(path: Path, sentence: Mapping[Word, str], word: Word) -> float:
    """When the word is half spoken."""
    lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    spoken = [line for line in lines if line[-1] not in SILENCE]
    if [line[-1] for line in spoken] != list(sentence.values()):
        raise ManifestError(f"{path.name} does not have the words {' '.join(sentence.values())}, one a line")
    start, stop, _ = spoken[get_args(Word).index(word)]
    return (int(start) + int(stop)) / 2 / ALIGN_UNITS


def _cut(source: Path, middle_seconds: float) -> bytes:
    """The piece of a clip around a moment."""
    try:
        return cut_clip(source, _start_seconds(source, middle_seconds), WINDOW_SECONDS)
    except (ValueError, IndexError, av.FFmpegError) as exc:
        raise ManifestError(f"{source.name} cannot be cut: {exc}") from exc


def _start_seconds(source: Path, middle_seconds: float) -> float:
    """Where the piece around a moment begins: with a frame, and all of it inside the clip."""
    with av.open(str(source)) as clip:
        num_frames = round((clip.duration or 0) / av.time_base * FRAMES_A_SECOND)
    wanted = round(WINDOW_SECONDS * FRAMES_A_SECOND)
    first = round(middle_seconds * FRAMES_A_SECOND - wanted / 2)
    return max(0, min(first, num_frames - wanted)) / FRAMES_A_SECOND


def _find_clips(folder: Path) -> list[Path]:
    below = folder / "clips" if (folder / "clips").is_dir() else folder
    clips = sorted(path for path in below.iterdir() if path.suffix.lower() in {".mp4", ".mov", ".mpg", ".avi", ".mkv"})
    if not clips:
        raise ManifestError(f"{folder} is no speaker of GRID: it has neither clips nor a folder clips with them")
    return clips
