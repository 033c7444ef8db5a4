"""Search: the ranking against loops in float64, and what cannot be asked."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from handler.decode import decode_request
from handler.embedding import Embedder
from handler.limits import Limits
from handler.runtime import choose_runtime
from models.checkpoint import load_checkpoint
from models.settings import SettingsError
from retrieval import vectors as vectors_module
from retrieval.indexing import Identity
from retrieval.search import Query, Searcher, clip_query, text_query
from retrieval.sources import Source, build_single_source
from retrieval.store import Moment
from retrieval.vectors import VectorIndex, build_index
from tests.retrieval.test_vectors import draw
from tests.retrieval.towers import write_sound, write_towers, write_video

NAMES = ("video", "audio", "text")


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    return Embedder(load_checkpoint(write_towers(tmp_path_factory.mktemp("towers"))), choose_runtime(threads=1))


def make_searcher(num_windows: int = 120, files: int = 6) -> tuple[Searcher, dict[str, dict[int, NDArray[np.float64]]]]:
    """Windows of 2 s every half second; every third has no video, every fifth no sound, none has words but two."""
    rng = np.random.default_rng(0)
    there = {
        "video": [n for n in range(num_windows) if n % 3],
        "audio": [n for n in range(num_windows) if n % 5],
        "text": [4, 7],
    }
    stored = {name: draw(len(rows), seed=int(rng.integers(1000))) for name, rows in there.items()}
    channels = {
        ("own", name): VectorIndex(("own", name), np.array(rows, dtype=np.int64), build_index(stored[name]))
        for name, rows in there.items()
    }
    each = num_windows // files
    moments = {n: Moment(f"{n // each}.mp4", n % each * 0.5, n % each * 0.5 + 2.0) for n in range(num_windows)}
    searcher = Searcher(Identity(Path("c"), "digest", Path("/root")), channels, moments)
    return searcher, {
        name: dict(zip(rows, stored[name].astype(np.float64), strict=True)) for name, rows in there.items()
    }


def scale(space: str, one: str, other: str) -> float:
    """Another one for each pair."""
    assert space == "own"
    return 5.0 + 3.0 * NAMES.index(one) + NAMES.index(other)


def make_query(**parts: NDArray[np.float32]) -> Query:
    return Query({"own": parts}, scale)


def reference(
    stored: dict[str, dict[int, NDArray[np.float64]]], parts: dict[str, NDArray[np.float32]]
) -> dict[int, float]:
    """The score of each window, by loops."""
    evidence: dict[int, float] = {}
    for name, rows in stored.items():
        for asked in [name] if name in parts else list(parts):
            best: dict[int, float] = {}
            for query in parts[asked].astype(np.float64):
                likely = {n: math.exp(scale("own", asked, name) * float(query @ row)) for n, row in rows.items()}
                general = (sum(likely.values()) + 32) / (len(likely) + 32)
                for n, ratio in likely.items():
                    best[n] = max(best.get(n, -math.inf), math.log(ratio / general))
            for n, score in best.items():
                evidence[n] = evidence.get(n, 0.0) + score
    return evidence


@pytest.mark.parametrize("asked", [("text",), ("audio",), ("video", "audio")])
def test_the_ranking_is_that_of_loops_in_float64(asked: tuple[str, ...]) -> None:
    searcher, stored = make_searcher()
    parts = {name: draw(3, seed=7 + place) for place, name in enumerate(asked)}
    found = searcher.search(make_query(**parts), top=8)
    scores = reference(stored, parts)
    expected: list[int] = []
    for n in sorted(scores, key=lambda n: -scores[n]):
        moment = searcher.moments[n]
        rivals = [searcher.moments[k] for k in expected if searcher.moments[k].file == moment.file]
        if all(abs(rival.start_seconds - moment.start_seconds) >= 2.0 for rival in rivals):
            expected.append(n)
    assert [(it.file, it.start_seconds) for it in found] == [
        (searcher.moments[n].file, searcher.moments[n].start_seconds) for n in expected[:8]
    ]
    np.testing.assert_allclose([it.score for it in found], [scores[n] for n in expected[:8]], atol=1e-4)
    for it, n in zip(found, expected, strict=False):
        assert set(it.cosines) == {name for name, rows in stored.items() if n in rows}
        assert it.modality in it.cosines


def test_modalities_of_the_moments_can_be_chosen() -> None:
    searcher, _ = make_searcher()
    found = searcher.search(make_query(text=draw(1)), top=5, modalities=["audio"])
    assert {it.modality for it in found} == {"audio"}
    assert all(set(it.cosines) == {"audio"} for it in found)
    with pytest.raises(SettingsError, match=r"the index has nothing of depth: it has video, audio, text"):
        searcher.search(make_query(text=draw(1)), modalities=["depth"])
    with pytest.raises(SettingsError, match="nothing in the index"):
        searcher.search(Query({"clip": {"text": draw(1)}}, scale))


def test_a_graph_finds_more_until_enough_moments_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    exact, _ = make_searcher(3000, files=60)
    query = make_query(text=draw(1, seed=3))
    expected = exact.search(query, top=20, modalities=["video"])
    monkeypatch.setattr(vectors_module, "FLAT_BELOW", 100)
    monkeypatch.setattr("retrieval.search.FEWEST_CANDIDATES", 10)
    monkeypatch.setattr("retrieval.search.CANDIDATES_PER_RESULT", 1)
    graph, _ = make_searcher(3000, files=60)
    assert not graph.channels["own", "video"].exact
    found = graph.search(query, top=20, modalities=["video"])
    assert len(found) == 20
    same = {(it.file, it.start_seconds) for it in found} & {(it.file, it.start_seconds) for it in expected}
    assert len(same) >= 18


def test_a_small_index_and_one_window(embedder: Embedder) -> None:
    channel = ("own", "audio")
    index = VectorIndex(channel, np.array([1]), build_index(draw(1, width=12)))
    searcher = Searcher(Identity(Path("c"), "d", Path("/r")), {channel: index}, {1: Moment("a", 0.0, 2.0)})
    (found,) = searcher.search(text_query(embedder, "stir"), top=3)
    assert (found.file, set(found.cosines)) == ("a", {"audio"})
    assert np.isfinite(found.score)


def test_a_clip_asks_by_its_windows_one_after_the_other(embedder: Embedder, tmp_path: Path) -> None:
    source = build_single_source(write_video(tmp_path / "a.mp4", num_frames=150), NAMES)
    clip = decode_request(source.read(), embedder.config, Limits())
    query = clip_query(embedder, clip)
    embedded = embedder.embed_clip(clip)
    assert clip.schedule.num_windows == 9
    assert set(query.vectors["own"]) == {"video", "audio"}
    assert np.array_equal(query.vectors["own"]["video"], embedded["video"].vectors[[0, 4, 8]])
    assert set(clip_query(embedder, clip, ["audio"]).vectors["own"]) == {"audio"}
    with pytest.raises(SettingsError, match="nothing of the query can be embedded: it has video, audio"):
        clip_query(embedder, clip, ["text"])
    sound = Source("a.wav", {"audio": write_sound(tmp_path / "a.wav")})
    heard = clip_query(embedder, decode_request(sound.read(), embedder.config, Limits()))
    assert set(heard.vectors["own"]) == {"audio"}
