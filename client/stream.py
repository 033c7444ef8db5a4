"""A stream of chunks, whose state the client keeps: the server keeps none, so any worker can go on with it.

>>> from client.cutting import cut_file
>>> from client.stream import ActivityStream
>>> stream = ActivityStream(client, {"top_k": 3})                                          # doctest: +SKIP
>>> for chunk in cut_file("clip.mp4", chunk_seconds=2.0):                                   # doctest: +SKIP
...     for segment in stream.send(chunk).final_segments:
...         print(segment["start_seconds"], segment["stop_seconds"], segment["label"])
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from client.answer import Answer
from client.cutting import Chunk
from client.errors import ChunkRefused
from client.parts import Content, Options
from client.patience import ask_patiently

BEGIN_ANEW = ("state_foreign", "state_expired")
"""Codes of a state that no worker goes on with any more, as after the roll-out of another version."""
DEFAULT_PATIENCE_SECONDS = 60.0


class Predictor(Protocol):
    """What sends a request: :class:`client.rest.RestClient`, :class:`client.grpc.GrpcClient`."""

    def predict(self, *, options: Options | None = None, **parts: Any) -> Answer:
        """Send one request; its parts by their names."""


@dataclass(frozen=True)
class ChunkAnswer:
    """What a chunk was answered with."""

    values: Mapping[str, Any] = field(repr=False)
    """The JSON answer; its start, duration, modalities and activities are those of the stream so far."""
    final_segments: tuple[Mapping[str, Any], ...]
    """Those that can no longer change, each once over the stream."""
    provisional_segments: tuple[Mapping[str, Any], ...]
    """What the rest looks like so far."""
    windows: tuple[Mapping[str, Any], ...]
    """The extra ``windows``, each with ``final``."""
    clock_seconds: float
    """The stream is known up to here."""
    final_until_seconds: float
    """What lies before is final."""
    gap_seconds: float
    """Of the stream before this chunk, which nobody sent."""
    latency_seconds: float
    """From sending to the answer, with all that was asked again."""
    begun_anew: str | None = None
    """The code for which the stream had to begin anew with this chunk; None where it went on."""


class ActivityStream:
    """One stream; for one thread at a time.

    Args:
        client: sends the requests.
        options: those of every request, without ``chunk`` and ``format``.
        part: what the chunks are sent as: ``audio`` for a sound that is used without its picture.
        keeps_windows: keep the final windows for :meth:`answer`; of a stream without an end they would be ever more.
        patience_seconds: how long a full queue is waited for.
        sleep: waits for so many seconds.
    """

    def __init__(
        self,
        client: Predictor,
        options: Options | None = None,
        *,
        part: str = "video",
        keeps_windows: bool = True,
        patience_seconds: float = DEFAULT_PATIENCE_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._options = dict(options or {})
        self._part = part
        self._keeps_windows = keeps_windows
        self._patience_seconds = patience_seconds
        self._sleep = sleep
        self._state: str | None = None
        self._segments: list[Mapping[str, Any]] = []
        self._windows: list[Mapping[str, Any]] = []
        self._timing: dict[str, float] = {}
        self._start_seconds: float | None = None
        self._latest: ChunkAnswer | None = None
        self.num_begun_anew = 0
        """How often the stream had to begin anew."""

    @property
    def segments(self) -> list[dict[str, Any]]:
        """Those of the stream so far, the provisional ones after the final ones, by their start; with ``final``."""
        provisional = () if self._latest is None else self._latest.provisional_segments
        return [dict(segment) for segment in (*self._segments, *provisional)]

    @property
    def has_answer(self) -> bool:
        """Whether a chunk was answered."""
        return self._latest is not None

    def send(self, chunk: Chunk, **parts: Content | None) -> ChunkAnswer:
        """Send the next chunk; a worker that dies or a full queue costs nothing but time.

        Args:
            chunk: of a stream's chunks the next one.
            parts: further parts of its request, such as ``text``.

        Raises:
            ChunkRefused: the model answered with an error.
            ClientError: the model did not answer; the same chunk can be sent again.
        """
        began = time.monotonic()
        answer, begun_anew = self._ask(chunk, parts, self._state), None
        if not answer.ok and self._state is not None and answer.json().get("code") in BEGIN_ANEW:
            begun_anew = str(answer.json()["code"])
            answer = self._ask(chunk, parts, None)
        if not answer.ok:
            place = f"The chunk from {chunk.start_seconds:.3f} s to {chunk.stop_seconds:.3f} s"
            raise ChunkRefused(answer.json(), place=place)
        if begun_anew is not None:
            self._keep_provisional(chunk.start_seconds)
        return self._take(answer.json(), time.monotonic() - began, begun_anew)

    def answer(self) -> dict[str, Any]:
        """The whole stream so far as the answer of one request would have it.

        Raises:
            ValueError: nothing was answered yet.
        """
        if self._latest is None or self._start_seconds is None:
            raise ValueError("no chunk was answered yet")
        latest = self._latest.values
        stop = latest["start_seconds"] + latest["duration_seconds"]
        # What the server has rounded is not to be changed where the stream never began anew.
        duration = round(stop - self._start_seconds, 6) if self.num_begun_anew else latest["duration_seconds"]
        provisional = [window for window in self._latest.windows if not window["final"]]
        values: dict[str, Any] = {
            "status": 200,
            "model": latest["model"],
            "start_seconds": self._start_seconds,
            "duration_seconds": duration,
            "modalities": latest["modalities"],
            "activities": latest["activities"],
            "segments": sorted(
                map(_without_final, self.segments), key=lambda it: (it["start_seconds"], it["stop_seconds"])
            ),
        }
        if "windows" in latest and self._keeps_windows:
            values["windows"] = [_without_final(window) for window in (*self._windows, *provisional)]
        if self._timing:
            values["timing"] = {stage: round(seconds, 6) for stage, seconds in self._timing.items()}
        return values

    def _ask(self, chunk: Chunk, parts: Mapping[str, Content | None], state: str | None) -> Answer:
        options = {**self._options, "chunk": chunk.options()}
        sent: dict[str, Any] = {**parts, self._part: chunk.data} | ({} if state is None else {"state": state})
        return ask_patiently(
            lambda: self._client.predict(options=options, **sent),
            patience_seconds=self._patience_seconds,
            sleep=self._sleep,
        )

    def _keep_provisional(self, until_seconds: float) -> None:
        """What was provisional when the stream broke off stays as it was seen last."""
        self.num_begun_anew += 1
        if self._latest is None:
            return
        for segment in self._latest.provisional_segments:
            if segment["start_seconds"] < until_seconds:
                stop = min(segment["stop_seconds"], until_seconds)
                self._segments.append({**segment, "stop_seconds": stop, "final": True})
        if self._keeps_windows:
            self._windows += [window for window in self._latest.windows if not window["final"]]

    def _take(self, values: dict[str, Any], latency_seconds: float, begun_anew: str | None) -> ChunkAnswer:
        stream = values["stream"]
        segments, windows = values["segments"], tuple(values.get("windows", ()))
        answer = ChunkAnswer(
            values=values,
            final_segments=tuple(segment for segment in segments if segment["final"]),
            provisional_segments=tuple(segment for segment in segments if not segment["final"]),
            windows=windows,
            clock_seconds=stream["clock_seconds"],
            final_until_seconds=stream["final_until_seconds"],
            gap_seconds=stream.get("gap_seconds", 0.0),
            latency_seconds=latency_seconds,
            begun_anew=begun_anew,
        )
        self._state = values.get("state")
        self._segments += answer.final_segments
        if self._keeps_windows:
            self._windows += [window for window in windows if window["final"]]
        for stage, seconds in values.get("timing", {}).items():
            self._timing[stage] = self._timing.get(stage, 0.0) + seconds
        if self._start_seconds is None:
            self._start_seconds = values["start_seconds"]
        self._latest = answer
        return answer


def _without_final(value: Mapping[str, Any]) -> dict[str, Any]:
    return {key: item for key, item in value.items() if key != "final"}
