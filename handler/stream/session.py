"""Streams of one model: a chunk and the state that came with it become an answer and the next state.

Nothing of a stream is kept here. Its state is the client's, signed (:mod:`handler.stream.token`), so any worker of any
machine with the same key and the same model goes on with it, and a worker that dies loses nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from handler.decoder import Decoder, LocalDecoder
from handler.errors import InvalidOptions, LimitExceeded, StateForeign, StateInvalid
from handler.inference import Scorer
from handler.limits import Limits
from handler.measures import note_clip, note_windows
from handler.options import ResolvedOptions, resolve_options
from handler.packing import PackingError, pack, unpack, unpacked_bytes
from handler.request import ActivityRequest
from handler.rolling.decision import Decided, DecidedWindows, DecisionRules, RollingDecision
from handler.rolling.scorer import RollingScorer, RollingState
from handler.stream.chunk import DecodedChunk
from handler.stream.options import check_chunk, options_digest
from handler.stream.response import ChunkPrediction
from handler.stream.state import StreamState
from handler.stream.token import MIN_KEY_BYTES, ModelIdentity, StreamSeal
from handler.transcription import split_transcription
from handler.windows import Schedule, Span
from models.checkpoint import Checkpoint
from models.fingerprint import checkpoint_fingerprint

_UNPACKED_FACTOR = 64
"""What the state of a token may have more bytes than the token: silence and black packs well."""

_OTHER_SHAPES = (PackingError, AttributeError, IndexError, KeyError, TypeError, ValueError)
"""What comes of reading a state that is signed, and made by code that put other things into it."""


@dataclass(frozen=True)
class _Memory:
    """All of a stream that its next chunk needs."""

    digest: str
    """Of the options that the stream began with."""
    stream: StreamState
    rolling: RollingState
    decision: Mapping[str, Any]

    def values(self) -> dict[str, Any]:
        rolling = self.rolling
        return {
            "digest": self.digest,
            "stream": self.stream.values(),
            "rolling": {
                "next_hop": rolling.next_hop,
                "num_hops": rolling.num_hops,
                "hops": dict(rolling.hops),
                "masks": dict(rolling.masks),
            },
            "decision": dict(self.decision),
        }


@dataclass(frozen=True)
class StreamedChunk:
    """A chunk between decode and model."""

    options: ResolvedOptions
    chunk: DecodedChunk
    memory: _Memory | None
    """What the state held; None where the stream begins."""
    last: bool
    decode_seconds: float


class Streams:
    """The streams of one model.

    Args:
        checkpoint: the model's.
        scorer: the model's.
        limits: bounds on a chunk and on a state.
        decoder: decodes; by default this process does.
        key: signs the states; by default one that nobody else has, so that the streams are this process's.

    Raises:
        SettingsError: the key is too short.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        scorer: Scorer,
        limits: Limits,
        decoder: Decoder | None = None,
        key: bytes | None = None,
    ) -> None:
        description = checkpoint.description
        identity = ModelIdentity(description.name, description.version, checkpoint_fingerprint(checkpoint))
        self.config = description.config
        self.scorer = scorer
        self.decoder = decoder or LocalDecoder(self.config)
        self.seal = StreamSeal(os.urandom(MIN_KEY_BYTES) if key is None else key, identity, limits)
        self.limits = limits
        self._max_unpacked_bytes = _UNPACKED_FACTOR * limits.max_state_bytes

    def decode(self, request: ActivityRequest) -> StreamedChunk:
        """Read a chunk's state and decode the chunk.

        Raises:
            InvalidOptions: it asks for what no chunk can be answered with.
            ActivityError: as :meth:`handler.stream.token.StreamSeal.unseal` and
                :func:`handler.stream.chunk.decode_chunk`.
        """
        started = time.perf_counter()
        chunk = request.options.chunk
        if chunk is None:
            raise ValueError("the request is no chunk")
        check_chunk(request, transcribed=split_transcription(request, self.config)[1])
        options = resolve_options(request.options, self.config)
        memory = None if request.state is None else self._open(request.state, options)
        state = None if memory is None else memory.stream
        decoded = self.decoder.chunk(request, chunk, self.limits, state)
        if decoded.clip is not None:
            note_clip(decoded.clip)
        return StreamedChunk(options, decoded, memory, chunk.last, time.perf_counter() - started)

    def answer(self, streamed: StreamedChunk) -> ChunkPrediction:
        """Score the hops that a chunk completes, and decide what can be.

        Raises:
            LimitExceeded: the state would be too large.
        """
        started = time.perf_counter()
        options, memory, state = streamed.options, streamed.memory, streamed.chunk.state
        scorer = RollingScorer(
            self.scorer,
            options.choice,
            window_hops=self.config.windows.hops,
            state=None if memory is None else memory.rolling,
        )
        rules = DecisionRules.of(self.config, options)
        begun = None if memory is None else _restored(rules, memory.decision)
        decision = begun or RollingDecision(rules, state.start_seconds)
        before = decision.num_windows
        clip = streamed.chunk.clip
        final = decision.push(scorer.push(clip).scores) if clip is not None else _nothing(decision)
        token: str | None = None
        if streamed.last:
            final = _joined(final, decision.push(scorer.finish().scores))
            final = _joined(final, decision.finish(max(state.stop_seconds, state.start_seconds)))
            provisional = _nothing(decision)
            activities, until = final.activities, state.stop_seconds
        else:
            known = state.start_seconds + state.next_hop * self.config.windows.stride_seconds
            provisional = decision.preview(max(state.clock_seconds, known), scorer.finish().scores)
            activities, until = provisional.activities, decision.final_until_seconds
            digest = options_digest(options)
            token = self._seal(_Memory(digest, state, scorer.state, decision.export()))
        note_windows(decision.num_windows - before)
        timing = {"decode_seconds": streamed.decode_seconds, "model_seconds": time.perf_counter() - started}
        stride, hops = self.config.windows.stride_seconds, self.config.windows.hops
        return ChunkPrediction(
            model_name=self.seal.identity.name,
            model_version=self.seal.identity.version,
            schedule=Schedule(Span(state.start_seconds, state.clock_seconds), stride, hops, max(1, state.next_hop)),
            modalities=state.statuses,
            activities=activities,
            segments=(*final.segments, *provisional.segments),
            timing=timing if "timing" in options.extras else None,
            final_until_seconds=until,
            gap_seconds=streamed.chunk.gap_seconds,
            labels=options.labels,
            final=final,
            provisional=provisional,
            with_windows="windows" in options.extras,
            state=token,
        )

    def _open(self, token: str | bytes, options: ResolvedOptions) -> _Memory:
        """What a token holds.

        Raises:
            StateForeign: the stream began with other options.
            StateInvalid: it is signed, and yet no state of this version of the code.
        """
        payload = self.seal.unseal(token)
        try:
            values = unpack(payload, self._max_unpacked_bytes)
            rolling = values["rolling"]
            memory = _Memory(
                digest=values["digest"],
                stream=StreamState.of_values(values["stream"]),
                rolling=RollingState(rolling["next_hop"], rolling["hops"], rolling["masks"], rolling["num_hops"]),
                decision=values["decision"],
            )
        except _OTHER_SHAPES as exc:
            raise _other_version() from exc
        if memory.digest != options_digest(options):
            raise StateForeign(
                "state: the stream began with other options",
                remedy="Send labels, threshold, strides, smoothing and shortest segments as with the first chunk.",
            )
        return memory

    def _seal(self, memory: _Memory) -> str:
        """The token of a state; where it would be too large, without the pictures' packets."""
        try:
            return self.seal.seal(self._packed(memory))
        except LimitExceeded:
            pictures = {name: replace(each, lead=None) for name, each in memory.stream.pictures.items()}
            lighter = replace(memory, stream=replace(memory.stream, pictures=pictures))
            return self.seal.seal(self._packed(lighter))

    def _packed(self, memory: _Memory) -> bytes:
        """What :meth:`_open` unpacks again.

        Raises:
            LimitExceeded: it would not.
        """
        packed = pack(memory.values())
        if (size := unpacked_bytes(packed)) > self._max_unpacked_bytes:
            raise LimitExceeded(
                "state",
                f"state: what the stream keeps would have {size} bytes, at most {self._max_unpacked_bytes} are allowed",
                remedy="Send shorter chunks.",
            )
        return packed


def check_state(request: ActivityRequest) -> None:
    """Hold that a request that is no chunk has no state.

    Raises:
        InvalidOptions: it has one.
    """
    if request.state is not None:
        raise InvalidOptions(
            "options: a state is for the chunks of a stream, and this request is none",
            remedy='Send the options {"chunk": {}} with it.',
        )


def _other_version() -> StateInvalid:
    return StateInvalid("state: of another version of this service", remedy="Begin the stream anew, without a state.")


def _restored(rules: DecisionRules, values: Mapping[str, Any]) -> RollingDecision:
    """A decision as it was exported.

    Raises:
        StateInvalid: by a version of the code that exported others.
    """
    try:
        return RollingDecision.restore(rules, values)
    except _OTHER_SHAPES as exc:
        raise _other_version() from exc


def _nothing(decision: RollingDecision) -> Decided:
    none = np.zeros((0, len(decision.rules.segments.labels)))
    return Decided((), DecidedWindows((), (), none, none), decision.activities())


def _joined(first: Decided, then: Decided) -> Decided:
    windows = DecidedWindows(
        first.windows.indexes + then.windows.indexes,
        first.windows.spans + then.windows.spans,
        np.concatenate((first.windows.scores, then.windows.scores)),
        np.concatenate((first.windows.smoothed, then.windows.smoothed)),
    )
    return Decided((*first.segments, *then.segments), windows, then.activities)
