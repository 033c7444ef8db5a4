"""The vectors of one channel as a faiss index: exact where that is quick, a graph beyond.

faiss and not hnswlib: hnswlib 0.8 has no wheels, so that installing it needs a compiler, and it has no exact index.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import IndexUnusable
from retrieval.ranking import Background, background_of
from retrieval.store import Channel, Store

FLAT_BELOW = 200_000
"""Windows up to which every one is compared: 56 ms a query of width 128 on one core, where the graph of half as many
takes a minute to build and finds approximately what is nearest."""
GRAPH_LINKS, BUILD_EFFORT, SEARCH_EFFORT = 32, 80, 256
"""HNSW's M, efConstruction and least efSearch (Malkov and Yashunin, arXiv 1603.09320)."""
AGAIN = "Run the same `activity index` again"
SAMPLE = 4096
"""Vectors from which it is estimated what a query has with a graph's windows in general."""


@dataclass(frozen=True)
class VectorIndex:
    """The vectors of a channel.

    Args:
        channel: space and modality.
        windows: ``(N,)`` int64, rising: the window of each row.
        index: faiss's, of inner products.
    """

    channel: Channel
    windows: NDArray[np.int64]
    index: Any

    def __len__(self) -> int:
        return len(self.windows)

    @property
    def exact(self) -> bool:
        """Whether every vector is compared."""
        return not hasattr(self.index, "hnsw")

    def nearest(self, queries: NDArray[np.float32], count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The most alike of each query ``(Q, E)``, best first.

        Returns:
            Cosines ``(Q, count)`` float32 and rows ``(Q, count)`` int64; of a graph that finds fewer, rows of -1.
        """
        if not self.exact:
            self.index.hnsw.efSearch = max(SEARCH_EFFORT, count)
        cosines, rows = self.index.search(np.ascontiguousarray(queries), min(count, len(self)))
        return cosines, rows

    def cosines(self, queries: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Of each query ``(Q, E)`` with the vectors of some rows ``(R,)``: ``(Q, R)`` float64."""
        if self.exact and len(rows) == len(self):
            found, places = self.nearest(queries, len(self))
            everything = np.empty(found.shape)
            np.put_along_axis(everything, places, found.astype(np.float64), axis=1)
            return everything[:, rows]
        vectors = self.index.reconstruct_batch(np.ascontiguousarray(rows))
        return np.asarray(queries.astype(np.float64) @ vectors.astype(np.float64).T)

    def background(self, queries: NDArray[np.float32], scale: float) -> Background:
        """What each query ``(Q, E)`` has with the channel's windows, or a sample of them, in general."""
        rows = np.arange(len(self))
        if not self.exact:
            rows = np.sort(np.random.default_rng(0).choice(len(self), size=min(SAMPLE, len(self)), replace=False))
        return background_of(self.cosines(queries, rows), scale)


def build_index(vectors: NDArray[np.float32]) -> Any:
    """A faiss index of ``(N, E)`` vectors of length 1, N at least 1; row n is vector n."""
    import faiss  # noqa: PLC0415 - only retrieval needs it

    width = vectors.shape[1]
    index: Any
    if len(vectors) < FLAT_BELOW:
        index = faiss.IndexFlatIP(width)
    else:
        index = faiss.IndexHNSWFlat(width, GRAPH_LINKS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = BUILD_EFFORT
    index.add(np.ascontiguousarray(vectors))
    return index


def write_indexes(folder: Path, store: Store) -> None:
    """Build what has changed since the indexes were written, and write each of them whole or not at all."""
    import faiss  # noqa: PLC0415 - as above

    generation, channels = store.generation, store.channels()
    for path in folder.glob("*.faiss*"):
        if path.name not in {_file_name(channel) for channel in channels}:
            path.unlink()
    for channel in channels:
        record = _record(store, channel)
        if record.get("generation") == generation and _read_written(folder, channel, record) is not None:
            continue
        _, vectors = store.vectors(channel)
        content = faiss.serialize_index(build_index(vectors)).tobytes()
        path = folder / _file_name(channel)
        partial = path.with_name(path.name + ".partial")
        partial.write_bytes(content)
        partial.replace(path)
        record = {"generation": generation, "sha256": hashlib.sha256(content).hexdigest()}
        store.write_meta({_key(channel): json.dumps(record)})


def read_index(folder: Path, store: Store, channel: Channel) -> VectorIndex:
    """Read a channel's index.

    Raises:
        IndexUnusable: it is missing, broken, or older than what the store knows.
    """
    import faiss  # noqa: PLC0415 - as above

    record = _record(store, channel)
    if record.get("generation") != store.generation:
        raise IndexUnusable(f"the index {folder} was not finished", remedy=f"{AGAIN}: it goes on.")
    content = _read_written(folder, channel, record)
    if content is None:
        path = folder / _file_name(channel)
        raise IndexUnusable(f"{path} is broken or missing", remedy=f"{AGAIN}: it is built anew.")
    index = faiss.deserialize_index(np.frombuffer(content, dtype=np.uint8))
    return VectorIndex(channel, store.windows_of(channel), index)


def _read_written(folder: Path, channel: Channel, record: Mapping[str, Any]) -> bytes | None:
    """A channel's file; None where it is not the one that was written. Nothing else reaches faiss, which trusts it."""
    try:
        content = (folder / _file_name(channel)).read_bytes()
    except OSError:
        return None
    return content if hashlib.sha256(content).hexdigest() == record.get("sha256") else None


def _record(store: Store, channel: Channel) -> dict[str, Any]:
    """What was noted when the channel's index was written; empty when it never was."""
    try:
        record = json.loads(store.meta(_key(channel)) or "{}")
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def _key(channel: Channel) -> str:
    return f"faiss {channel[0]} {channel[1]}"


def _file_name(channel: Channel) -> str:
    return f"{channel[0]}-{channel[1]}.faiss"
