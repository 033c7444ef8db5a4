"""Decodes each request in a small process, which is killed when it overstays or anything is wrong with its answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from handler.cage.cage import Budget, Cage, Call, Child
from handler.cage.values import (
    Values,
    chunk_of,
    clip_of,
    cues_of,
    errors_values,
    request_values,
    schedule_of,
    statuses_of,
    waveform_of,
    words_values,
)
from handler.cage.wire import WireError
from handler.clip import Cue, ModalityStatus
from handler.errors import ActivityError, DecoderCrashed, error_of_values
from handler.geometry import geometry_of
from handler.limits import HandlerSettings, Limits
from handler.looks import Picture
from handler.measures import note_child
from handler.recordings.pieces import HOPS_PER_PIECE, ClipPiece, ModalityFailed, Pieces, read_ahead
from handler.request import ActivityRequest
from handler.sources import Transcribe
from handler.stream.chunk import DecodedChunk
from handler.stream.options import ChunkOptions
from handler.stream.state import StreamState
from handler.windows import Schedule
from models.checkpoint import read_description
from models.config import Modality, ModelConfig

_TRIES = 2
"""Children that may die of a request: one may have been killed for want of memory elsewhere, or die of what it decoded
before; the last one has decoded nothing else."""
Parsed = TypeVar("Parsed")


class CagedDecoder:
    """A :class:`handler.decoder.Decoder` whose children can be killed without any other request noticing.

    Args:
        config: the model's.
        limits: what a child may take.
        num_waiting: children that are ready before anybody asks.
        requests_per_child: how many requests a child decodes with which nothing is wrong.

    Raises:
        SettingsError: this system cannot do that.
    """

    def __init__(self, config: ModelConfig, limits: Limits, num_waiting: int, requests_per_child: int = 1) -> None:
        self.config = config
        self.cage = Cage(config, limits, num_waiting, requests_per_child)

    def close(self) -> None:
        """End the processes."""
        self.cage.close()

    def pieces(
        self,
        request: ActivityRequest,
        limits: Limits,
        *,
        hops_per_piece: int = HOPS_PER_PIECE,
        transcribe: Transcribe | None = None,
        failed: Mapping[Modality, ActivityError] | None = None,
    ) -> Pieces:
        """See :class:`handler.decoder.Decoder`.

        Raises:
            DecoderCrashed: the children that decoded it died.
        """
        asked = request_values(request) | {
            "hops_per_piece": hops_per_piece,
            "transcribe": transcribe is not None,
            "failed": errors_values(failed or {}),
        }
        with ExitStack() as stack:
            talk, values = _begin(self, stack, "pieces", asked, limits, transcribe)
            schedule, statuses, transcript = _read(_opening_of, values)
            opened = Pieces(schedule, statuses, transcript, talk.pieces(schedule.num_hops), stack.pop_all())
        return read_ahead(opened) if schedule.num_hops > hops_per_piece else opened

    def chunk(
        self, request: ActivityRequest, chunk: ChunkOptions, limits: Limits, state: StreamState | None
    ) -> DecodedChunk:
        """See :class:`handler.decoder.Decoder`.

        Raises:
            DecoderCrashed: the children that decoded it died.
        """
        asked = request_values(request) | {
            "chunk": chunk.model_dump(mode="json"),
            "state": None if state is None else state.values(),
        }
        with ExitStack() as stack:
            talk, values = _begin(self, stack, "chunk", asked, limits)
            decoded = _read(chunk_of, values)
            talk.end()
            return decoded

    def pictures(self, request: ActivityRequest, seconds: Sequence[float], limits: Limits) -> Iterator[Picture | None]:
        """See :class:`handler.decoder.Decoder`.

        Raises:
            DecoderCrashed: the children that decoded it died.
        """
        with ExitStack() as stack:
            asked = request_values(request) | {"seconds": list(seconds)}
            talk, values = _begin(self, stack, "pictures", asked, limits)
            for _ in seconds:
                talk.budget.add(limits.max_decode_seconds)
                yield _read(_picture_of, values)
                _, values = talk.ask("next", {})
            talk.end()


def build_decoder(folder: Path, settings: HandlerSettings, num_waiting: int) -> CagedDecoder | None:
    """The decoder of an archive's model; None where its settings want no cage.

    Args:
        folder: holds the checkpoint.
        settings: the archive's.
        num_waiting: children that are ready before anybody asks.

    Raises:
        SettingsError: the folder holds no checkpoint, or this system has no cage.
    """
    if not settings.cage:
        return None
    config = read_description(folder).config
    return CagedDecoder(config, settings.limits, num_waiting, settings.requests_per_child)


def _begin(
    decoder: CagedDecoder,
    stack: ExitStack,
    kind: str,
    values: Values,
    limits: Limits,
    transcribe: Transcribe | None = None,
) -> tuple[_Talk, Values]:
    """Ask a child, and another one if that dies of it; ``stack`` ends the one that answered."""
    asked = values | {"limits": limits.model_dump(mode="json")}
    for left in reversed(range(_TRIES)):
        with ExitStack() as attempt:
            child = attempt.enter_context(decoder.cage.child(fresh=left == 0))
            talk = _Talk(decoder.config, child, limits, transcribe)
            try:
                _, answer = talk.ask(kind, asked)
            except DecoderCrashed:
                if left:
                    continue
                raise
            stack.push(attempt.pop_all())
            return talk, answer
    raise AssertionError("there is at least one try")


class _Talk:
    """A conversation with one child."""

    def __init__(self, config: ModelConfig, child: Child, limits: Limits, transcribe: Transcribe | None) -> None:
        self._config = config
        self._child = child
        self._limits = limits
        self._transcribe = transcribe
        self._has_length = False
        self.budget = Budget(limits.max_decode_seconds)
        self._calls: dict[str, Call] = {"lasts": self._lasts, "geometry": self._geometry}
        if transcribe is not None:
            self._calls["hear"] = self._hear

    def ask(self, kind: str, values: Values) -> tuple[str, Values]:
        """Ask something.

        Raises:
            ActivityError: the child says so, died, or took too long.
            ModalityFailed: the child says so.
        """
        try:
            kind, answer = self._child.ask(kind, values, self.budget, self._calls)
        except WireError:
            note_child("crashed")
            raise _crashed() from None
        except ActivityError:
            note_child("timeout")
            raise
        if kind in ("error", "failed", "defect"):
            note_child("memory" if answer.get("code") == "limit_memory" else "ok")
            _raise(kind, answer)
        return kind, answer

    def pieces(self, num_hops: int) -> Iterator[ClipPiece]:
        """The pieces of what has been opened, which has so many hops."""
        stop = 0
        while stop < num_hops:
            _, values = self.ask("next", {})
            piece = _read(_piece_of, values)
            del values
            stop = piece.first_hop + piece.clip.schedule.num_hops
            if stop >= num_hops:
                self.end()
            yield piece
            del piece  # the caller alone held it

    def end(self) -> None:
        """The child has given all that it was asked for."""
        note_child("ok")
        self._child.is_done = True

    def _lasts(self, values: Values) -> Values:
        """A clip gives its decoder as long as it lasts, once."""
        seconds = values["seconds"]
        if type(seconds) in (int, float) and not self._has_length:
            self._has_length = True
            self.budget.add(min(max(0.0, seconds), self._limits.max_duration_seconds))
        return {}

    def _geometry(self, values: Values) -> Values:
        config: Any = {"video": self._config.video, "depth": self._config.depth, "image": self._config.image}
        apply = geometry_of(config[values["modality"]])
        return {"picture": None if apply is None else apply(values["picture"])}

    def _hear(self, values: Values) -> Values:
        if self._transcribe is None:
            raise ValueError("nobody hears")
        return words_values(self._transcribe(waveform_of(values)))


def _raise(kind: str, values: Values) -> NoReturn:
    """Raise what a child met instead of an answer."""
    if kind == "defect":
        raise RuntimeError(f"in a decode child: {values.get('trace')}")
    if kind == "failed":
        raise _read(lambda it: ModalityFailed(it["modality"], error_of_values(it["error"])), values)
    raise _read(error_of_values, values)


def _read(parse: Callable[[Values], Parsed], values: Values) -> Parsed:
    """What an answer holds; one that holds nothing of the kind comes from a child that is no longer itself."""
    try:
        return parse(values)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        raise _crashed() from None


def _opening_of(values: Values) -> tuple[Schedule, dict[Modality, ModalityStatus], tuple[Cue, ...] | None]:
    return schedule_of(values["schedule"]), statuses_of(values["modalities"]), cues_of(values["transcript"])


def _piece_of(values: Values) -> ClipPiece:
    return ClipPiece(values["first_hop"], clip_of(values["clip"]))


def _picture_of(values: Values) -> Picture | None:
    picture: Picture | None = values["picture"]
    return picture


def _crashed() -> DecoderCrashed:
    return DecoderCrashed(
        "the decoder stopped while it read what was sent",
        remedy="Send the file encoded anew; if it is whole and plays elsewhere, send it once more.",
    )
