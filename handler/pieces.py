"""A recording decoded in pieces of some hops, so that its memory does not grow with its length."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from handler.clip import Clip, Cue, ModalityStatus
from handler.decode import decode_request
from handler.errors import ActivityError
from handler.limits import Limits
from handler.request import ActivityRequest
from handler.sources import Transcribe
from handler.windows import Schedule, Span
from models.config import Modality, ModelConfig

HOPS_PER_PIECE = 64


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
    """A recording that is being decoded; a context manager.

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
    ) -> None:
        self.schedule = schedule
        self.modalities = modalities
        self.transcript = transcript
        self.pieces = pieces

    def close(self) -> None:
        """Free what decoding holds; no piece comes any more."""

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
) -> Pieces:
    """Decode a request in pieces.

    Args:
        request: what was sent.
        config: the model's.
        limits: bounds on what it may cost.
        hops_per_piece: hops of each piece but the last.
        transcribe: makes words of the sound.
        failed: modalities that are left out, each because of what :class:`ModalityFailed` said.

    Raises:
        ActivityError: as :func:`handler.decode.decode_request`.
        ModalityFailed: from the iterator: begin anew, with this one in ``failed``.
    """
    clip = decode_request(request, config, limits, transcribe)
    return Pieces(clip.schedule, clip.modalities, clip.transcript, _cut(clip, hops_per_piece))


def _cut(clip: Clip, hops_per_piece: int) -> Iterator[ClipPiece]:
    for first in range(0, clip.schedule.num_hops, hops_per_piece):
        hops = slice(first, min(first + hops_per_piece, clip.schedule.num_hops))
        piece = replace(
            clip,
            schedule=cut_schedule(clip.schedule, hops.start, hops.stop),
            frames=_part(clip.frames, hops),
            samples=_part(clip.samples, hops),
            texts=None if clip.texts is None else clip.texts[hops],
            depth=_part(clip.depth, hops),
            vectors={name: rows[hops] for name, rows in clip.vectors.items()},
            masks={name: mask[hops] for name, mask in clip.masks.items()},
        )
        yield ClipPiece(first, piece)


def _part(content: NDArray[np.generic] | None, hops: slice) -> NDArray[np.generic] | None:
    return None if content is None else content[hops]


def cut_schedule(schedule: Schedule, first: int, stop: int) -> Schedule:
    """The schedule of hops ``first .. stop - 1`` alone."""
    start = schedule.hop_span(first).start_seconds
    end = schedule.span.stop_seconds if stop == schedule.num_hops else schedule.hop_span(stop).start_seconds
    return replace(schedule, span=Span(start, max(start, end)), num_hops=stop - first)
