"""Recall by directions: hand-made towers whose vectors are known, and which sentence a window has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from handler.clip import Clip, Cue, ModalityStatus, Words
from handler.embedding import WindowEmbeddings
from handler.windows import Schedule, Span
from models.settings import SettingsError
from models.spaces import Space
from training.dataset import LabelledClip
from training.embedded import sentence_of
from training.evaluation.recall import measure_recall
from training.manifest import ManifestEntry

CUES = "WEBVTT\n\n00:00.000 --> 00:04.001\nred ring\n\n00:04.000 --> 00:08.000\nblue disc\n"


class Towers:
    """Embeds as it is told: clip by clip the vectors of its windows."""

    def __init__(self, clips: list[dict[str, np.ndarray[Any, Any]]], texts: dict[str, list[float]]) -> None:
        names = tuple(clips[0])
        self.spaces = {"own": Space("own", names, takes_text=True)}
        self.clips = iter(clips)
        self.texts = texts

    def embed_clip(self, clip: Clip) -> dict[str, WindowEmbeddings]:
        found = {}
        for name, rows in next(self.clips).items():
            spread = np.repeat(rows, clip.schedule.window_hops, axis=0)[: clip.schedule.num_windows]
            found[name] = WindowEmbeddings(spread.astype(np.float32), np.asarray(spread.any(axis=1)))
        return found

    def scale(self, space: str, one: str, other: str) -> float:
        assert (space, one) == ("own", "text")
        return 10.0 if other == "video" else 20.0

    def embed_text(self, space: str, texts: list[str]) -> np.ndarray[Any, Any]:
        assert space == "own"
        return np.array([self.texts[text] for text in texts], dtype=np.float32)


def make_clip(folder: Path, number: int) -> LabelledClip:
    """Eight seconds: four windows of four hops that do not overlap; two sentences."""
    text = folder / f"{number}.vtt"
    text.write_text(CUES.replace("red ring", f"red ring {number}"), encoding="utf-8")
    schedule = Schedule(Span(0.0, 8.0), 0.5, 4, 16)
    status = {name: ModalityStatus(used=True) for name in ("video", "audio")}
    return LabelledClip(ManifestEntry(None, text, None, (), label="x"), Clip(schedule, status))


EYE = np.eye(8)
SENTENCES = {"red ring 0": [1, 1, 0, 0, 0, 0, 0, 0], "red ring 1": [0, 0, 0, 0, 1, 1, 0, 0]}
SENTENCES["blue disc"] = [0, 0, 1, 1, 0, 0, 0, 0]


def test_each_direction_is_counted(tmp_path: Path) -> None:
    video, audio = EYE.copy(), EYE.copy()
    audio[[0, 1]] = audio[[1, 0]]  # two of the windows are each other's
    clips = [{"video": video[:4], "audio": audio[:4]}, {"video": video[4:], "audio": audio[4:]}]
    report = measure_recall(
        Towers(clips, {name: list(map(float, row)) for name, row in SENTENCES.items()}),  # type: ignore[arg-type]
        [make_clip(tmp_path, 0), make_clip(tmp_path, 1)],
        model="m",
    )
    assert (report.num_clips, report.num_windows) == (2, 8)
    found = {(it.asked, *it.found): it for it in report.directions}
    there = found["video", "audio"]
    assert (there.num_queries, there.num_candidates) == (8, 8)
    assert there.recall[1] is not None
    assert there.recall[1].value == pytest.approx(6 / 8)
    assert there.recall[1].low < 6 / 8 < there.recall[1].high
    # Two of the queries find another first, and their own among the six that are alike.
    assert there.recall[5] is not None
    assert there.recall[5].value == pytest.approx((6 + 2 * 4 / 7) / 8)
    assert there.chance == {1: 1 / 8, 5: 5 / 8, 10: 1.0}
    asked = found["text", "video"]
    assert (asked.num_queries, asked.num_candidates) == (3, 8)
    assert asked.recall[1] is not None
    assert asked.recall[1].value == 1.0
    assert asked.chance[1] == pytest.approx((2 / 8 + 2 / 8 + 4 / 8) / 3)
    told = found["audio", "text"]
    assert (told.num_queries, told.num_candidates) == (8, 3)
    assert told.recall[1] is not None
    assert told.recall[1].value == pytest.approx((6 + 2 / 3) / 8)
    both = found["text", "video", "audio"]
    assert (both.num_queries, both.num_candidates) == (3, 8)


def test_data_with_nothing_to_compare_is_refused(tmp_path: Path) -> None:
    clip = make_clip(tmp_path, 0)
    clip = LabelledClip(ManifestEntry(None, None, Path("a.wav"), (), label="x"), clip.clip)
    with pytest.raises(SettingsError, match="the data has no window with two modalities"):
        measure_recall(Towers([{"video": EYE[:4]}], {}), [clip], model="m")  # type: ignore[arg-type]


SCHEDULE = Schedule(Span(0.0, 8.0), 0.5, 4, 16)


@pytest.mark.parametrize(
    ("cues", "window", "expected"),
    [
        ([(0, 2, "a")], 0, "a"),
        ([(0, 1.6, "a")], 0, "a"),
        ([(0, 1.4, "a")], 0, None),
        ([(0, 2.001, "a"), (2, 4, "b")], 4, "b"),
        ([(0, 3, "a"), (3, 6, "b")], 4, None),
        ([], 0, None),
        ([(0, 2, "  ")], 0, None),
    ],
)
def test_a_window_has_a_sentence_that_holds_for_all_of_it(
    cues: list[tuple[float, float, str]], window: int, expected: str | None
) -> None:
    assert sentence_of(Words(cues=tuple(Cue(*cue) for cue in cues)), SCHEDULE, window) == expected


def test_words_without_times_hold_throughout() -> None:
    assert sentence_of(Words(untimed=" a b "), SCHEDULE, 9) == "a b"
