"""A source is read and cut on one thread, its chunks are sent on another; what cannot be kept up with is dropped."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any, Protocol

from client.cutting import Chunk, cut_source
from client.errors import ChunkRefused, ClientError, Overloaded, ServerTimeout, WorkerFailed
from client.sources import Source
from client.stream import ActivityStream, ChunkAnswer

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_WAITING = 2
"""Chunks that wait while one is asked for: more would be old when their turn comes."""
LOOK_SECONDS = 0.1
SKIPPED_CODES = frozenset({"undecodable_media", "no_usable_modality", "unsupported_media", "chunk_undecodable_start"})
"""Of errors that are one chunk's alone, such as a picture that was broken on its way."""


@dataclass(frozen=True)
class Seen:
    """What is known after a chunk."""

    number: int
    """Of the chunk, from 1."""
    chunk: Chunk = field(repr=False)
    answer: ChunkAnswer = field(repr=False)
    segments: Sequence[Mapping[str, Any]] = field(repr=False)
    """Those of the stream so far, with ``final``."""
    lag_seconds: float
    """How far the source is ahead of what is known."""
    dropped: int
    """Chunks that were dropped before this one, since the one before it."""
    num_dropped: int
    """Since the beginning."""


class View(Protocol):
    """Shows what is seen."""

    def show(self, seen: Seen) -> None:
        """A chunk was answered."""

    def say(self, message: str) -> None:
        """Something happened that is no answer."""


class ChunkQueue:
    """Chunks on their way from the reader to the sender.

    Args:
        drops: a chunk that comes while :data:`MAX_WAITING` wait takes the place of the oldest; else it waits itself.
    """

    def __init__(self, *, drops: bool) -> None:
        self._drops = drops
        self._chunks: deque[Chunk | BaseException | None] = deque()
        self._changed = threading.Condition()
        self._num_dropped = 0
        self._is_closed = False

    def close(self) -> None:
        """Nobody takes anything any more."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def put(self, item: Chunk | BaseException | None) -> None:
        """Hand over a chunk, what went wrong, or None: nothing follows."""
        with self._changed:
            while isinstance(item, Chunk) and len(self._chunks) >= MAX_WAITING and not self._is_closed:
                if self._drops:
                    self._chunks.popleft()
                    self._num_dropped += 1
                else:
                    self._changed.wait()
            self._chunks.append(item)
            self._changed.notify_all()

    def take(self) -> tuple[Chunk | None, int]:
        """The next chunk, None at the end, and how many were dropped before it since the last one.

        Raises:
            BaseException: what the reader met.
        """
        with self._changed:
            while not self._chunks:
                self._changed.wait(LOOK_SECONDS)  # a signal is only looked at between two waits
            item = self._chunks.popleft()
            dropped, self._num_dropped = self._num_dropped, 0
            self._changed.notify_all()
        if isinstance(item, BaseException):
            raise item
        return item, dropped


class Pace:
    """The source's clock against the wall's.

    Args:
        is_fast: a recording goes as quickly as it is answered.
        is_file: what it gives was there before; a live source's first chunk has just been filmed.
    """

    def __init__(self, *, is_fast: bool, is_file: bool) -> None:
        self._is_fast = is_fast
        self._is_file = is_file
        self._origin: float | None = None
        self._latest = 0.0

    def wait(self, chunk: Chunk, stopped: threading.Event) -> None:
        """Wait until a source that goes at its own pace has come to the chunk's end."""
        now = time.monotonic()
        if self._origin is None:
            self._origin = now - (chunk.start_seconds if self._is_file else chunk.stop_seconds)
        is_early = not self._is_fast and stopped.wait(max(0.0, self._origin + chunk.stop_seconds - now))
        if not is_early:
            self._latest = chunk.stop_seconds

    def position_seconds(self) -> float:
        """Where the source is now, on the stream's clock."""
        if self._is_fast or self._origin is None:
            return self._latest
        return max(self._latest, time.monotonic() - self._origin)


@dataclass
class Watcher:
    """A source on its way through a stream."""

    source: Source
    stream: ActivityStream
    view: View
    chunk_seconds: float
    is_fast: bool = False
    encode: bool = False
    words_of: Callable[[Chunk], bytes | None] = lambda _: None
    """The text of a chunk's request."""
    latencies: list[float] = field(default_factory=list, init=False)
    """Seconds that each answer was waited for."""
    _stopped: threading.Event = field(default_factory=threading.Event)

    def stop(self) -> None:
        """End the stream: what has been read goes as its last chunk."""
        self._stopped.set()
        self.source.stop()

    def run(self) -> None:
        """Watch until the source ends or is stopped.

        Raises:
            ClientError: the source cannot be cut, or the model did not answer.
        """
        queue, pace = (
            ChunkQueue(drops=not self.is_fast),
            Pace(is_fast=self.is_fast, is_file=self.source.address.is_file),
        )
        reader = threading.Thread(target=self._read, args=(queue, pace), daemon=True)
        self.source.is_read = True
        reader.start()
        try:
            self._send(queue, pace)
        finally:
            self.stop()
            queue.close()
            reader.join()
            self.source.is_read = False
        if self.source.ended_by:
            self.view.say(f"The source broke off: {self.source.ended_by}.")

    def _read(self, queue: ChunkQueue, pace: Pace) -> None:
        try:
            for chunk in cut_source(self.source, self.chunk_seconds, encode=self.encode):
                pace.wait(chunk, self._stopped)
                queue.put(chunk)
            queue.put(None)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the sender raises it
            queue.put(error)

    def _send(self, queue: ChunkQueue, pace: Pace) -> None:
        number = num_dropped = 0
        while True:
            chunk, dropped = queue.take()
            if chunk is None:
                return
            num_dropped += dropped
            number += 1 + dropped
            try:
                text = self.words_of(chunk)
                answer = self.stream.send(chunk, **({} if text is None else {"text": text}))
            except ClientError as error:
                if chunk.last or not is_passing(error):
                    raise
                self.view.say(f"Skipped {chunk.start_seconds:.2f} s to {chunk.stop_seconds:.2f} s: {error.message}")
                continue
            self.latencies.append(answer.latency_seconds)
            lag = max(0.0, pace.position_seconds() - answer.clock_seconds)
            self.view.show(Seen(number, chunk, answer, self.stream.segments, lag, dropped, num_dropped))


def latency_words(latencies: Sequence[float]) -> str:
    """How long the answers were waited for, two or more of them; the first one pays for what is made once."""
    first, *others = latencies
    return (
        f"{len(latencies)} chunks answered; latency {first:.3f} s for the first, median {median(others):.3f} s and at"
        f" most {max(others):.3f} s for the others."
    )


def is_passing(error: ClientError) -> bool:
    """Whether the next chunk may go well after this one did not."""
    if isinstance(error, ChunkRefused):
        return error.code in SKIPPED_CODES
    return isinstance(error, WorkerFailed | ServerTimeout | Overloaded)


@contextmanager
def stop_by_ctrl_c(stop: Callable[[], None], say: Callable[[str], None]) -> Iterator[None]:
    """The first Ctrl-C calls ``stop``, the second is an interrupt as ever."""
    import signal  # noqa: PLC0415 - as wide as the one function that needs it

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)

    def on_signal(_number: int, _frame: object) -> None:
        signal.signal(signal.SIGINT, before)
        say("Ending the stream; Ctrl-C again leaves at once.")
        stop()

    signal.signal(signal.SIGINT, on_signal)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
