"""Who decodes: this process, or small ones of their own (:mod:`handler.cage.decoder`); the answers are the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from handler.errors import ActivityError
from handler.limits import Limits
from handler.looks import Picture, look_at
from handler.recordings.pieces import HOPS_PER_PIECE, Pieces, decode_pieces, read_ahead
from handler.request import ActivityRequest
from handler.sources import Transcribe
from handler.stream.chunk import DecodedChunk, decode_chunk
from handler.stream.options import ChunkOptions
from handler.stream.state import StreamState
from models.config import Modality, ModelConfig


class Decoder(Protocol):
    """Decodes what requests for one model were sent with."""

    def pieces(
        self,
        request: ActivityRequest,
        limits: Limits,
        *,
        hops_per_piece: int = HOPS_PER_PIECE,
        transcribe: Transcribe | None = None,
        failed: Mapping[Modality, ActivityError] | None = None,
    ) -> Pieces:
        """Decode a request in pieces, the next one while the caller is at the one before it.

        Args:
            request: what was sent.
            limits: bounds on what it may cost.
            hops_per_piece: as for :func:`handler.recordings.pieces.decode_pieces`, as are ``transcribe`` and
                ``failed``.
            transcribe: see ``hops_per_piece``.
            failed: see ``hops_per_piece``.

        Raises:
            ActivityError: as :func:`handler.recordings.pieces.decode_pieces`.
        """

    def chunk(
        self, request: ActivityRequest, chunk: ChunkOptions, limits: Limits, state: StreamState | None
    ) -> DecodedChunk:
        """Decode a stream's next chunk: :func:`handler.stream.chunk.decode_chunk`."""

    def pictures(self, request: ActivityRequest, seconds: Sequence[float], limits: Limits) -> Iterable[Picture | None]:
        """What is seen at some times: :func:`handler.looks.look_at`."""


@dataclass(frozen=True)
class LocalDecoder:
    """Decodes in this process: for files of one's own."""

    config: ModelConfig

    def pieces(
        self,
        request: ActivityRequest,
        limits: Limits,
        *,
        hops_per_piece: int = HOPS_PER_PIECE,
        transcribe: Transcribe | None = None,
        failed: Mapping[Modality, ActivityError] | None = None,
    ) -> Pieces:
        """See :class:`Decoder`."""
        opened = decode_pieces(
            request, self.config, limits, hops_per_piece=hops_per_piece, transcribe=transcribe, failed=failed
        )
        return read_ahead(opened) if opened.schedule.num_hops > hops_per_piece else opened

    def chunk(
        self, request: ActivityRequest, chunk: ChunkOptions, limits: Limits, state: StreamState | None
    ) -> DecodedChunk:
        """See :class:`Decoder`."""
        return decode_chunk(request, chunk, self.config, limits, state)

    def pictures(self, request: ActivityRequest, seconds: Sequence[float], limits: Limits) -> Iterable[Picture | None]:
        """See :class:`Decoder`."""
        return look_at(request, seconds, limits)
