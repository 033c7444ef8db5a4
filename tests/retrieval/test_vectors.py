"""The indexes of vectors: brute force, the graph, files that are broken or old."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from retrieval import vectors as module
from retrieval.errors import IndexUnusable
from retrieval.ranking import background_of
from retrieval.store import EmbeddedWindow, open_store
from retrieval.vectors import VectorIndex, build_index, read_index, write_indexes

CHANNEL = ("own", "video")


def draw(count: int, width: int = 16, seed: int = 0) -> NDArray[np.float32]:
    rows = np.random.default_rng(seed).normal(size=(count, width))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def test_an_exact_index_is_brute_force() -> None:
    stored, queries = draw(300), draw(4, seed=1)
    index = VectorIndex(CHANNEL, np.arange(300) * 2, build_index(stored))
    expected = queries.astype(np.float64) @ stored.astype(np.float64).T
    assert index.exact
    np.testing.assert_allclose(index.cosines(queries, np.arange(300)), expected, rtol=0, atol=1e-6)
    rows = np.array([7, 3, 299])
    np.testing.assert_allclose(index.cosines(queries, rows), expected[:, rows], rtol=0, atol=1e-6)
    cosines, places = index.nearest(queries, 10)
    assert places.tolist() == np.argsort(-expected, axis=1)[:, :10].tolist()
    np.testing.assert_allclose(cosines, -np.sort(-expected, axis=1)[:, :10], rtol=0, atol=1e-6)
    found, reference = index.background(queries, 9.0), background_of(expected, 9.0)
    np.testing.assert_allclose(found.log_mean, reference.log_mean, atol=1e-5)


def test_a_graph_finds_what_brute_force_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FLAT_BELOW", 100)
    stored = draw(2000)
    queries = stored[:20] + 0.05 * draw(20, seed=1)
    index = VectorIndex(CHANNEL, np.arange(2000), build_index(stored))
    assert not index.exact
    expected = queries.astype(np.float64) @ stored.astype(np.float64).T
    _, places = index.nearest(queries, 10)
    best = np.argsort(-expected, axis=1)[:, :10]
    assert np.mean([len({*a} & {*b}) / 10 for a, b in zip(places.tolist(), best.tolist(), strict=True)]) > 0.95
    np.testing.assert_allclose(index.cosines(queries, places[0]), expected[:, places[0]], rtol=0, atol=1e-6)


def fill(folder: Path, stored: NDArray[np.float32]) -> None:
    windows = [EmbeddedWindow(i, i + 2.0, {CHANNEL: vector}) for i, vector in enumerate(stored)]
    with open_store(folder, write=True) as store:
        store.replace_file("a.mp4", "1", windows)
        write_indexes(folder, store)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    stored = draw(20)
    fill(tmp_path, stored)
    with open_store(tmp_path) as store:
        index = read_index(tmp_path, store, CHANNEL)
    assert index.windows.tolist() == list(range(1, 21))
    assert np.array_equal(index.index.reconstruct_n(0, 20), stored)


@pytest.mark.parametrize("fault", ["cut", "flipped", "gone"])
def test_a_broken_file_is_not_given_to_faiss_and_is_built_anew(tmp_path: Path, fault: str) -> None:
    fill(tmp_path, draw(20))
    path = tmp_path / "own-video.faiss"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content if fault == "flipped" else content[: len(content) // 2])
    if fault == "gone":
        path.unlink()
    with open_store(tmp_path) as store, pytest.raises(IndexUnusable, match="faiss is broken or missing"):
        read_index(tmp_path, store, CHANNEL)
    with open_store(tmp_path, write=True) as store:
        write_indexes(tmp_path, store)
        assert len(read_index(tmp_path, store, CHANNEL)) == 20


def test_an_index_older_than_its_store_is_not_searched(tmp_path: Path) -> None:
    fill(tmp_path, draw(20))
    with open_store(tmp_path, write=True) as store:
        store.drop_files(["a.mp4"])
        store.replace_file("b.mp4", "1", [EmbeddedWindow(0, 2, {CHANNEL: draw(1)[0]})])
    with open_store(tmp_path) as store, pytest.raises(IndexUnusable, match="was not finished"):
        read_index(tmp_path, store, CHANNEL)


def test_channels_that_are_gone_lose_their_file(tmp_path: Path) -> None:
    fill(tmp_path, draw(20))
    with open_store(tmp_path, write=True) as store:
        store.drop_files(["a.mp4"])
        write_indexes(tmp_path, store)
    assert list(tmp_path.glob("*.faiss")) == []
