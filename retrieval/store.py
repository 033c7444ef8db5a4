"""What an index knows, in one SQLite file: its files, their windows, and each window's vectors.

Each file's windows are written in one transaction: whenever a process is killed, a file is in the index whole or not at
all. Paths and vectors are stored as they are; nothing is ever unpickled.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.config import Modality
from retrieval.errors import IndexUnusable

STORE_FILE = "index.sqlite3"
FORMAT = "1"
REMAKE = "Remove the index's folder and run `activity index` again."
VECTOR_TYPE = np.dtype("<f4")
_TABLES = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS files (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, stamp TEXT NOT NULL, failure TEXT
);
CREATE TABLE IF NOT EXISTS windows (
    id INTEGER PRIMARY KEY AUTOINCREMENT, file INTEGER NOT NULL REFERENCES files (id) ON DELETE CASCADE,
    start_seconds REAL NOT NULL, stop_seconds REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS vectors (
    space TEXT NOT NULL, modality TEXT NOT NULL, window INTEGER NOT NULL REFERENCES windows (id) ON DELETE CASCADE,
    vector BLOB NOT NULL, PRIMARY KEY (space, modality, window)
);
CREATE INDEX IF NOT EXISTS windows_of_a_file ON windows (file);
CREATE INDEX IF NOT EXISTS vectors_of_a_window ON vectors (window);
"""

Channel = tuple[str, Modality]
"""A space and a modality: vectors that are compared with each other."""


@dataclass(frozen=True)
class EmbeddedWindow:
    """A window of a file and what it is in each modality that it has."""

    start_seconds: float
    stop_seconds: float
    vectors: Mapping[Channel, NDArray[np.float32]]
    """``(E,)`` float32 of length 1, by channel."""


@dataclass(frozen=True)
class Moment:
    """Where a window is."""

    file: str
    start_seconds: float
    stop_seconds: float


class Store:
    """An open store; only one process at a time writes.

    Args:
        connection: to its file.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def meta(self, key: str) -> str | None:
        """A fact about the index as a whole; None where it is not there."""
        row = self._connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def write_meta(self, values: Mapping[str, str]) -> None:
        """Set facts, all or none."""
        with self._connection:
            self._connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", values.items())

    @property
    def generation(self) -> int:
        """Grows with each change of the windows."""
        return int(self.meta("generation") or 0)

    def stamps(self) -> dict[str, str]:
        """The stamp of each file that was embedded, or failed to be, by name."""
        return {_name(name): stamp for name, stamp in self._connection.execute("SELECT name, stamp FROM files")}

    def failures(self) -> dict[str, str]:
        """Why a file gave nothing, by name."""
        rows = self._connection.execute("SELECT name, failure FROM files WHERE failure IS NOT NULL ORDER BY name")
        return {_name(name): failure for name, failure in rows}

    def replace_file(
        self, name: str, stamp: str, windows: Sequence[EmbeddedWindow], failure: str | None = None
    ) -> None:
        """Put a file in the place of what was known of it, whole or not at all."""
        with self._changes() as connection:
            connection.execute("DELETE FROM files WHERE name = ?", (_key(name),))
            inserted = "INSERT INTO files (name, stamp, failure) VALUES (?, ?, ?)"
            file = connection.execute(inserted, (_key(name), stamp, failure)).lastrowid
            for it in windows:
                inserted = "INSERT INTO windows (file, start_seconds, stop_seconds) VALUES (?, ?, ?)"
                window = connection.execute(inserted, (file, it.start_seconds, it.stop_seconds)).lastrowid
                connection.executemany(
                    "INSERT INTO vectors (space, modality, window, vector) VALUES (?, ?, ?, ?)",
                    [(*channel, window, _bytes(vector)) for channel, vector in it.vectors.items()],
                )

    def drop_files(self, names: Sequence[str]) -> None:
        """Forget files."""
        if names:
            with self._changes() as connection:
                connection.executemany("DELETE FROM files WHERE name = ?", [(_key(name),) for name in names])

    def channels(self) -> dict[Channel, int]:
        """How many windows each channel has."""
        rows = self._connection.execute(
            "SELECT space, modality, count(*) FROM vectors GROUP BY space, modality ORDER BY space, modality"
        )
        return {(space, modality): count for space, modality, count in rows}

    def vectors(self, channel: Channel) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The numbers of a channel's windows, rising, ``(N,)`` int64, and their vectors ``(N, E)`` float32.

        Raises:
            IndexUnusable: they are not of one length.
        """
        query = "SELECT window, vector FROM vectors WHERE space = ? AND modality = ? ORDER BY window"
        rows = self._connection.execute(query, channel).fetchall()
        sizes = {len(blob) for _, blob in rows}
        if len(sizes) > 1 or any(size % VECTOR_TYPE.itemsize for size in sizes):
            raise IndexUnusable(f"the vectors of {channel[1]} are not of one length", remedy=REMAKE)
        flat = np.frombuffer(b"".join(blob for _, blob in rows), dtype=VECTOR_TYPE).astype(np.float32)
        return np.array([window for window, _ in rows], dtype=np.int64), flat.reshape(len(rows), -1)

    def windows_of(self, channel: Channel) -> NDArray[np.int64]:
        """The numbers of a channel's windows, rising: ``(N,)`` int64."""
        query = "SELECT window FROM vectors WHERE space = ? AND modality = ? ORDER BY window"
        return np.array([row[0] for row in self._connection.execute(query, channel)], dtype=np.int64)

    def moments(self) -> dict[int, Moment]:
        """Where each window is, by its number."""
        query = "SELECT windows.id, name, start_seconds, stop_seconds FROM windows JOIN files ON files.id = file"
        return {row[0]: Moment(_name(row[1]), row[2], row[3]) for row in self._connection.execute(query)}

    @contextmanager
    def _changes(self) -> Iterator[sqlite3.Connection]:
        with self._connection as connection:
            yield connection
            connection.execute(
                "INSERT INTO meta VALUES ('generation', '1')"
                " ON CONFLICT (key) DO UPDATE SET value = CAST(value AS INTEGER) + 1"
            )


@contextmanager
def open_store(folder: Path, *, write: bool = False) -> Iterator[Store]:
    """Open an index's store.

    Args:
        folder: the index.
        write: to change it: it is made where it is missing, and no other process can open it meanwhile.

    Raises:
        IndexUnusable: there is none, it is broken or of another format, or another process holds it.
    """
    path = folder / STORE_FILE
    if not write and not path.is_file():
        raise IndexUnusable(f"{folder} is no index: it has no {STORE_FILE}", remedy="Make one with `activity index`.")
    if write:
        folder.mkdir(parents=True, exist_ok=True)
    try:
        connection = sqlite3.connect(path, timeout=0.5)
        try:
            connection.execute("PRAGMA foreign_keys = ON")
            if write:
                connection.execute("PRAGMA locking_mode = EXCLUSIVE")
                connection.execute("BEGIN EXCLUSIVE")  # and in this mode the lock is kept from here on
                connection.commit()
                connection.executescript(_TABLES)
            store = Store(connection)
            _check_format(store, folder, write=write)
            yield store
        finally:
            connection.close()
    except sqlite3.OperationalError as exc:
        if "locked" in str(exc):
            raise IndexUnusable(f"{folder} is being written by another process", remedy="Wait until it ends.") from exc
        raise _broken(folder, exc) from exc
    except sqlite3.DatabaseError as exc:
        raise _broken(folder, exc) from exc


def _check_format(store: Store, folder: Path, *, write: bool) -> None:
    written = store.meta("format")
    if written is None and write:
        store.write_meta({"format": FORMAT})
    elif written != FORMAT:
        raise IndexUnusable(f"{folder} is an index of format {written}, this program reads {FORMAT}", remedy=REMAKE)


def _broken(folder: Path, cause: Exception) -> IndexUnusable:
    return IndexUnusable(f"{folder / STORE_FILE} is broken: {cause}", remedy=REMAKE)


def _key(name: str) -> str:
    """A file's name as JSON: names that are no UTF-8 have code points that SQLite does not take."""
    return json.dumps(name)


def _name(key: str) -> str:
    try:
        return str(json.loads(key))
    except (TypeError, ValueError) as exc:
        raise IndexUnusable(f"a file's name cannot be read: {key!r}", remedy=REMAKE) from exc


def _bytes(vector: NDArray[np.float32]) -> bytes:
    return vector.astype(VECTOR_TYPE).tobytes()
