"""From files to an index: each is decoded and embedded once, whatever happens in between."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from handler.clip import Clip
from handler.decode import decode_request
from handler.embedding import Embedder
from handler.errors import ActivityError
from handler.limits import Limits
from retrieval.errors import IndexUnusable
from retrieval.sources import Source
from retrieval.store import REMAKE, Channel, EmbeddedWindow, Store, open_store
from retrieval.vectors import write_indexes

IDENTITY_KEY = "identity"
Progress = Callable[[int, int], None]
"""Called with how many files are done and how many there are to do."""


@dataclass(frozen=True)
class Identity:
    """What an index is of; it stays the same for as long as the index lives."""

    checkpoint: Path
    """Its folder, where a search finds it unless another place is given."""
    digest: str
    """Of :func:`retrieval.digest.digest_checkpoint`."""
    root: Path
    """What the files' names are relative to."""


@dataclass(frozen=True)
class IndexReport:
    """What came of indexing."""

    embedded: int
    """Files that were embedded now."""
    unchanged: int
    """Files that were in the index already, as they are."""
    dropped: int
    """Files that are gone."""
    failures: dict[str, str]
    """Why a file is not in the index, by name."""
    channels: dict[Channel, int]
    """How many windows there are, by space and modality."""


@dataclass(frozen=True)
class _Decoded:
    source: Source
    stamp: str | None
    """None where the file could not be looked at: it is tried again the next time."""
    clip: Clip | None
    failure: str | None = None


def index_sources(
    sources: Sequence[Source],
    folder: Path,
    embedder: Embedder,
    identity: Identity,
    *,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> IndexReport:
    """Bring an index up to the files as they are now.

    A file is embedded when it is new or has changed, and forgotten when it is gone. Each is written at once, so that
    a process that is killed and started again goes on where it was.

    Args:
        sources: all files that the index shall have.
        folder: the index; made where it is missing.
        embedder: the checkpoint's.
        identity: of checkpoint and files.
        limits: on each file.
        progress: called after each file.

    Raises:
        IndexUnusable: the index is of another checkpoint or of other files, is broken, or is being written.
    """
    with open_store(folder, write=True) as store:
        _claim(store, folder, identity)
        known = store.stamps()
        names = {source.name for source in sources}
        gone = [name for name in known if name not in names]
        store.drop_files(gone)
        todo = [source for source in sources if known.get(source.name) != _stamp(source) or source.name not in known]
        passing: dict[str, str] = {}
        for done, item in enumerate(_decode_ahead(todo, embedder, limits or Limits()), start=1):
            if item.stamp is None:
                passing[item.source.name] = item.failure or ""
                if item.source.name in known:
                    store.drop_files([item.source.name])
            else:
                windows = [] if item.clip is None else embed_windows(item.clip, embedder)
                failure = item.failure or (None if windows else "nothing in it can be embedded")
                store.replace_file(item.source.name, item.stamp, windows, failure)
            if progress is not None:
                progress(done, len(todo))
        write_indexes(folder, store)
        failures = {**store.failures(), **passing}
        embedded = sum(source.name not in failures for source in todo)
        unchanged = sum(source.name not in failures for source in sources) - embedded
        return IndexReport(embedded, unchanged, len(gone), failures, store.channels())


def embed_windows(clip: Clip, embedder: Embedder) -> list[EmbeddedWindow]:
    """The windows of a clip that have anything that is embedded."""
    embedded = embedder.embed_clip(clip)
    windows = []
    for place in range(clip.schedule.num_windows):
        span = clip.schedule.window_span(place)
        vectors = {
            (space, name): it.vectors[place]
            for name, it in embedded.items()
            if it.present[place] and (space := embedder.space_of(name)) is not None
        }
        if vectors:
            windows.append(EmbeddedWindow(span.start_seconds, span.stop_seconds, vectors))
    return windows


def read_identity(store: Store) -> Identity | None:
    """What an index is of; None where nothing was ever written to it.

    Raises:
        IndexUnusable: it cannot be read.
    """
    written = store.meta(IDENTITY_KEY)
    if written is None:
        return None
    try:
        values = json.loads(written)
        return Identity(Path(values["checkpoint"]), str(values["digest"]), Path(values["root"]))
    except (ValueError, KeyError, TypeError) as exc:
        raise IndexUnusable("what the index is of cannot be read", remedy=REMAKE) from exc


def _claim(store: Store, folder: Path, identity: Identity) -> None:
    """Say what a new index is of; refuse another one's."""
    known = read_identity(store)
    if known is None:
        paths = {"root": str(identity.root), "checkpoint": str(identity.checkpoint)}
        store.write_meta({IDENTITY_KEY: json.dumps({**paths, "digest": identity.digest})})
        return
    if known.digest != identity.digest:
        raise IndexUnusable(
            f"the index {folder} was made by another checkpoint: vectors of different weights cannot be compared",
            remedy="Give that checkpoint, or another folder for the index.",
        )
    if known.root != identity.root:
        raise IndexUnusable(
            f"the index {folder} is of the files below {known.root}, not of {identity.root}",
            remedy="Give another folder for this index.",
        )


def _decode_ahead(sources: Sequence[Source], embedder: Embedder, limits: Limits) -> Iterator[_Decoded]:
    """Decode in order, a few files ahead of what is embedded: their frames are large."""
    threads = embedder.runtime.threads
    waiting: deque[Future[_Decoded]] = deque()
    with ThreadPoolExecutor(max_workers=threads) as pool:
        for source in sources:
            waiting.append(pool.submit(_decode, source, embedder, limits))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _decode(source: Source, embedder: Embedder, limits: Limits) -> _Decoded:
    stamp = _stamp(source)
    try:
        return _Decoded(source, stamp, decode_request(source.read(), embedder.config, limits))
    except ActivityError as error:
        return _Decoded(source, stamp, None, error.message)
    except OSError as error:
        return _Decoded(source, None, None, f"it cannot be read: {error.strerror}")


def _stamp(source: Source) -> str | None:
    try:
        return source.stamp()
    except OSError:
        return None
