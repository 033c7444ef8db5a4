"""A recording decoded in pieces of some hops, so that its memory does not grow with its length.

What grows with the length is the file itself and a few bytes for each packet (:mod:`handler.demux`) and each hop. What
a hop holds is the same, to the last bit, as :func:`handler.decode.decode_request` gives of the whole.

Before the first frame is decoded it is known how long the recording is and which modalities it has. So its sound is
taken to be as long as its packets say, where a clip of one piece is decoded first and then known to the sample.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from contextvars import copy_context
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

from numpy.typing import NDArray

from handler.clip import Clip, Cue, ModalityStatus, VectorSequence
from handler.decode import Part, build_clip, decode_cropped_pieces, decode_sources, list_parts, to_grey
from handler.errors import ActivityError
from handler.limits import Limits
from handler.recordings.sound_pieces import decode_sound_pieces
from handler.request import ActivityRequest
from handler.sources import Picture, Sound, Sources, Transcribe, Unused, lay_schedule, open_sources, out_of_memory
from handler.vectors import cut_vectors
from handler.windows import Schedule, Span
from models.config import Modality, ModelConfig

HOPS_PER_PIECE = 64
"""Multiple of the hops and the windows that are encoded and scored at once."""


class ModalityFailed(Exception):
    """A modality of a recording fails in its midst: it has to be decoded anew without it."""

    def __init__(self, modality: Modality, error: ActivityError) -> None:
        super().__init__(f"{modality}: {error.message}")
        self.modality = modality
        self.error = error


@dataclass(frozen=True)
class ClipPiece:
    """Some of a recording's hops."""

    first_hop: int
    """The recording's hop that is the piece's first."""
    clip: Clip
    """Its schedule is the piece's own; its statuses and transcript are the recording's. A modality that is used
    has a mask and contents in each piece, those in which no hop has it as well."""


class Pieces:
    """A recording that is being decoded; a context manager, for one thread at a time.

    Attributes:
        schedule: of the whole recording.
        modalities: for each modality whether it is used and, if not, why.
        transcript: the words that were heard in the sound; None where nobody asked for them.
        pieces: the recording's hops in order, each exactly once.
    """

    def __init__(
        self,
        schedule: Schedule,
        modalities: dict[Modality, ModalityStatus],
        transcript: tuple[Cue, ...] | None,
        pieces: Iterator[ClipPiece],
        opened: ExitStack | None = None,
    ) -> None:
        self.schedule = schedule
        self.modalities = modalities
        self.transcript = transcript
        self.pieces = pieces
        self._opened = ExitStack() if opened is None else opened

    def close(self) -> None:
        """Free what decoding holds; no piece comes any more."""
        self.pieces = iter(())
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def decode_pieces(
    request: ActivityRequest,
    config: ModelConfig,
    limits: Limits,
    *,
    hops_per_piece: int = HOPS_PER_PIECE,
    transcribe: Transcribe | None = None,
    failed: Mapping[Modality, ActivityError] | None = None,
    on_length: Callable[[float], None] | None = None,
) -> Pieces:
    """Decode a request in pieces.

    A clip of at most ``hops_per_piece`` hops is one piece, which has been decoded when this returns.

    Args:
        request: what was sent.
        config: the model's.
        limits: bounds on what it may cost.
        hops_per_piece: hops of each piece but the last.
        transcribe: makes words of the sound, of all of it at once.
        failed: modalities that are left out, each because of what :class:`ModalityFailed` said.
        on_length: is told how many seconds it lasts before the first frame is decoded.

    Raises:
        ActivityError: as :func:`handler.decode.decode_request`.
        ModalityFailed: from the iterator: begin anew, with this one in ``failed``.
    """
    with ExitStack() as stack:
        sources = open_sources(request, config, limits, stack, transcribe=transcribe, failed=failed)
        schedule = lay_schedule(sources, sources.sound, config, limits)
        if on_length is not None:
            on_length(schedule.span.duration_seconds)
        if schedule.num_hops <= hops_per_piece:
            clip = decode_sources(sources, request, config, limits)
            return Pieces(clip.schedule, clip.modalities, clip.transcript, iter((ClipPiece(0, clip),)))
        parts = list_parts(_timed_parts(sources, schedule), sources, schedule, request, config, limits)
        recording = _Recording(sources, schedule, config, limits, parts, hops_per_piece)
        statuses = build_clip(parts, schedule, sources).modalities
        pieces = recording.decode()
        stack.callback(pieces.close)
        return Pieces(schedule, statuses, sources.transcript, pieces, stack.pop_all())


def cut_schedule(schedule: Schedule, first: int, stop: int) -> Schedule:
    """The schedule of hops ``first .. stop - 1`` alone."""
    start = schedule.hop_span(first).start_seconds
    end = schedule.span.stop_seconds if stop == schedule.num_hops else schedule.hop_span(stop).start_seconds
    return replace(schedule, span=Span(start, max(start, end)), num_hops=stop - first)


def _timed_parts(sources: Sources, schedule: Schedule) -> dict[Modality, Part[None] | Unused]:
    """Of picture, depth, sound and sequences which hops have them; what they hold comes piece by piece."""
    contents = {**sources.pictures, "audio": sources.sound, **sources.sequences}
    return {
        name: content if isinstance(content, Unused) else Part(None, schedule.hop_mask(content.span))
        for name, content in contents.items()
    }


@dataclass(frozen=True)
class _Recording:
    """A recording of several pieces, open."""

    sources: Sources
    schedule: Schedule
    config: ModelConfig
    limits: Limits
    parts: Mapping[Modality, Part[Any] | Unused]
    hops_per_piece: int

    def decode(self) -> Generator[ClipPiece, None, None]:
        """Its pieces in order.

        Raises:
            ModalityFailed: picture, depth or sound does not decode.
        """
        num_hops = self.schedule.num_hops
        cuts = [
            (first, min(first + self.hops_per_piece, num_hops)) for first in range(0, num_hops, self.hops_per_piece)
        ]
        streams = self._streams(cuts)
        for first, stop in cuts:
            yield ClipPiece(first, self._piece(first, stop, streams))

    def _streams(self, cuts: Sequence[tuple[int, int]]) -> dict[Modality, Iterator[NDArray[Any]]]:
        """What is decoded for the pieces one after the other."""
        streams: dict[Modality, Iterator[NDArray[Any]]] = {}
        for name, picture in self.sources.pictures.items():
            if isinstance(picture, Picture):
                times = self.schedule.frame_times(picture.config.frames_per_hop)
                cut_times = [times[first:stop] for first, stop in cuts]
                frames = decode_cropped_pieces(picture.container, cut_times, picture.config, self.limits)
                streams[name] = map(to_grey, frames) if name == "depth" else frames
        sound = self.sources.sound
        if isinstance(sound, Sound):
            streams["audio"] = decode_sound_pieces(
                sound.container, self.schedule, sound.config, self.hops_per_piece, self.limits
            )
        return streams

    def _piece(self, first: int, stop: int, streams: Mapping[Modality, Iterator[NDArray[Any]]]) -> Clip:
        parts: dict[Modality, Part[Any] | Unused] = {}
        for name, part in self.parts.items():
            if isinstance(part, Unused):
                parts[name] = part
                continue
            sequence = self.sources.sequences.get(name)
            content: Any = part.content
            if name in streams:
                content = _next(name, streams[name])
            elif name == "text":
                content = content[first:stop]
            elif isinstance(sequence, VectorSequence):
                content = cut_vectors(sequence, self.schedule, self.config.vectors[name], first, stop)
            parts[name] = Part(content, part.mask[first:stop])
        return build_clip(parts, cut_schedule(self.schedule, first, stop), self.sources)


def read_ahead(opened: Pieces) -> Pieces:
    """The same pieces, each decoded in a thread while the caller is at the one before; closing these closes those."""
    with ExitStack() as stack:
        stack.callback(opened.close)
        pieces = _one_ahead(opened.pieces)
        stack.callback(pieces.close)
        return Pieces(opened.schedule, opened.modalities, opened.transcript, pieces, stack.pop_all())


def _one_ahead(pieces: Iterator[ClipPiece]) -> Generator[ClipPiece, None, None]:
    context = copy_context()  # what is measured there is the request's

    def following() -> ClipPiece | None:
        return next(pieces, None)

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="decode") as thread:
        coming = thread.submit(context.run, following)
        while (piece := coming.result()) is not None:
            coming = thread.submit(context.run, following)
            yield piece
            del piece  # the caller alone held it


def _next(name: Modality, stream: Iterator[NDArray[Any]]) -> NDArray[Any]:
    try:
        return next(stream)
    except ActivityError as error:
        raise ModalityFailed(name, error) from error
    except MemoryError as exc:
        raise ModalityFailed(name, out_of_memory()) from exc
