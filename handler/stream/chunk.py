"""A stream's next chunk: what it has is decoded, and the hops that it completes come out.

A hop is complete when every modality that the chunk has is known to the hop's end. What is known beyond that waits in
the state, which is all that the next chunk needs. A modality that the chunk does not have, or that ends long before the
others, holds up nobody: what its hop lacks is held or silent, and a hop has it when its centre lies in its span, as in
:mod:`handler.decode`. With the last chunk the hops are those of the whole recording.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from handler.audio import cut_hops
from handler.clip import Clip, Cue, ModalityStatus, Words
from handler.decode import ALWAYS_LISTED, cut_words, to_grey
from handler.errors import LimitExceeded
from handler.limits import Limits
from handler.request import ActivityRequest
from handler.sources import NOT_IN_MODEL, NOT_SENT
from handler.stream.arrival import receive_chunk
from handler.stream.arrived import Arrived
from handler.stream.options import ChunkOptions
from handler.stream.state import Presence, StreamState
from handler.windows import Schedule, Span, build_schedule
from models.config import Modality, ModelConfig

LAG_SECONDS = 0.5
"""A modality that ends this long before the last thing in its chunk begins is over: the others do not wait for it."""

_EDGE_SECONDS = 1e-9
"""A hop whose end lies this little beyond what is known is complete: both are rounded floats."""


@dataclass(frozen=True)
class DecodedChunk:
    """What a chunk came to."""

    clip: Clip | None
    """The hops that it completes; None where there are none."""
    state: StreamState
    gap_seconds: float
    """Of the stream between the last chunk and this one; 0 where there is none."""


def decode_chunk(
    request: ActivityRequest,
    chunk: ChunkOptions,
    config: ModelConfig,
    limits: Limits,
    state: StreamState | None,
    on_length: Callable[[float], None] | None = None,
) -> DecodedChunk:
    """Decode a stream's next chunk.

    Args:
        request: what was sent.
        chunk: where it lies on the stream's clock.
        config: the model's.
        limits: bounds on what it may cost.
        state: what the last chunk left; None where the stream begins.
        on_length: is told how many seconds the chunk leads further before anything is decoded.

    Raises:
        ChunkOutOfOrder: it begins before the stream's clock.
        ChunkUndecodableStart: its picture begins inside a group of pictures whose start nobody has.
        InvalidRequest: the stream begins, and nothing that has times was sent.
        ActivityError: nothing that was sent can be used: as :func:`handler.decode.decode_request`.
    """
    found = receive_chunk(request, chunk, config, limits, state, on_length)
    return _Hops(request, chunk, config, limits, state, found).complete()


class _Hops:
    """The hops that a chunk completes."""

    def __init__(
        self,
        request: ActivityRequest,
        chunk: ChunkOptions,
        config: ModelConfig,
        limits: Limits,
        state: StreamState | None,
        found: Arrived,
    ) -> None:
        self.request, self.chunk, self.config, self.limits = request, chunk, config, limits
        self.state, self.found = state, found
        self.hop_seconds = config.windows.stride_seconds

    def _gap(self, spans: Mapping[Modality, tuple[float, float]]) -> float:
        if self.state is None or not spans:
            return 0.0
        gap = min(start for start, _ in spans.values()) - self.state.stop_seconds
        return gap if gap > self.found.tolerance_seconds else 0.0

    def complete(self) -> DecodedChunk:
        """Give the hops, and what waits for the next chunk."""
        found, state, last = self.found, self.state, self.chunk.last
        spans = found.spans()
        gap_seconds = self._gap(spans)
        before = state or StreamState(found.start_seconds, found.start_seconds, found.start_seconds, next_hop=0)
        stop = max([before.stop_seconds, *(stop for _, stop in spans.values())])
        tolerance = found.tolerance_seconds
        presence = {name: replace(each, is_open=False) for name, each in before.presence.items()}
        for name, (first, end) in spans.items():
            known = before.presence.get(name)
            presence[name] = (
                Presence.begin(first, end)
                if known is None
                else known.go_on(first, end, tolerance=tolerance, has_gap=gap_seconds > 0)
            )
        state = replace(
            before,
            stop_seconds=stop,
            headers=found.headers,
            pictures={**before.pictures, **found.pictures},
            sound=found.sound or before.sound,
            rows={**before.rows, **found.rows},
            cues=self._cues(before.cues),
            presence=presence,
            statuses=self._statuses(before.statuses),
        )
        waited = {name for name, (_, end) in spans.items() if not last and end >= found.latest_seconds - LAG_SECONDS}
        num_hops = self._num_complete(state, waited)
        clip = None
        if num_hops > before.next_hop:
            clip = self._clip(state, before.next_hop, num_hops, waited)
            state = replace(state, presence=_seen(state.presence, clip))
        clock = stop if last or not spans else min(self._known(state, name) for name in waited)
        clock = max(before.clock_seconds, clock if spans or last else before.clock_seconds)
        return DecodedChunk(clip, self._trimmed(state, num_hops, clock), gap_seconds)

    def _known(self, state: StreamState, name: Modality) -> float:
        """Until when a modality that the chunk has is known."""
        if name in state.pictures:
            return state.pictures[name].known_seconds
        if name == "audio" and state.sound is not None:
            return min(state.sound.stop_seconds, state.sound.counted_seconds)  # by its packets, as a client knows it
        return state.rows[name].known_seconds

    def _num_complete(self, state: StreamState, waited: set[Modality]) -> int:
        """How many of the stream's hops are complete."""
        if self.chunk.last:
            span = Span(state.start_seconds, max(state.start_seconds, state.stop_seconds))
            return max(state.next_hop, build_schedule(span, self.config.windows).num_hops)
        counts = []
        for name in waited:
            known = self._known(state, name) + _EDGE_SECONDS
            counts.append(int((known - state.start_seconds) / self.hop_seconds))
            while counts[-1] > 0 and state.start_seconds + counts[-1] * self.hop_seconds > known:
                counts[-1] -= 1
            if name == "audio" and state.sound is not None and self.config.audio is not None:
                while counts[-1] > 0 and sum(self._samples(state, counts[-1] - 1)) > state.sound.num_samples:
                    counts[-1] -= 1
        return max(state.next_hop, min(counts, default=0))

    def _samples(self, state: StreamState, hop: int) -> tuple[int, int]:
        """A hop's first sample, counted from the sound's start, and how many it has."""
        audio, sound = self.config.audio, state.sound
        if audio is None or sound is None:
            raise ValueError("there is no sound")
        num_samples = round(self.hop_seconds * audio.sample_rate)
        lead = round((sound.start_seconds - state.start_seconds) * audio.sample_rate) + audio.context_samples // 2
        return hop * num_samples - lead, num_samples + audio.context_samples

    def _clip(self, state: StreamState, first: int, stop: int, waited: set[Modality]) -> Clip:
        """Hops ``first .. stop - 1`` of the stream."""
        start, stride = state.start_seconds, self.hop_seconds
        end = state.stop_seconds if self.chunk.last else start + stop * stride
        begin = start + first * stride
        schedule = Schedule(Span(begin, max(begin, end)), stride, self.config.windows.hops, stop - first)
        centres = start + (np.arange(first, stop, dtype=np.float64) + 0.5) * stride
        masks: dict[Modality, NDArray[np.bool_]] = {}
        for name, each in state.presence.items():
            mask = each.mask(centres, is_over=name not in waited)
            if mask.any():
                masks[name] = mask
        frames, depth = self._frames(state, "video", first, stop), self._frames(state, "depth", first, stop)
        texts = self._texts(state, first, stop)
        if texts is not None:
            masks["text"] = np.array([bool(text) for text in texts])
        for name, content in (("image", self.found.image), ("tabular", self.found.row)):
            if content is not None:
                masks[name] = np.ones(stop - first, dtype=np.bool_)
        return Clip(
            schedule=schedule,
            modalities=dict(state.statuses),
            frames=frames if "video" in masks else None,
            samples=self._cut_sound(state, first, stop, is_over="audio" not in waited) if "audio" in masks else None,
            texts=texts,
            image=self.found.image,
            row=self.found.row,
            depth=None if depth is None or "depth" not in masks else to_grey(depth),
            vectors={
                name: rows.cut(replace(schedule, span=Span(begin, begin)), self.config.vectors[name])
                for name, rows in state.rows.items()
                if name in masks
            },
            masks=masks,
        )

    def _frames(self, state: StreamState, name: Modality, first: int, stop: int) -> NDArray[np.uint8] | None:
        """The frames of hops ``first .. stop - 1``: ``(N, T, 3, size, size)``."""
        config, picture = self.config.video if name == "video" else self.config.depth, state.pictures.get(name)
        if config is None or picture is None:
            return None
        per_hop = config.frames_per_hop
        frames = picture.at(first * per_hop, (stop - first) * per_hop)
        return frames.reshape(stop - first, per_hop, *frames.shape[1:])

    def _cut_sound(self, state: StreamState, first: int, stop: int, *, is_over: bool) -> NDArray[np.float32] | None:
        audio, sound = self.config.audio, state.sound
        if audio is None or sound is None:
            return None
        if is_over:
            sound = sound.ended(audio.sample_rate, self.limits)
        begin, num_samples = self._samples(state, first)
        context = audio.context_samples
        return cut_hops(sound.samples, sound.first - begin, stop - first, num_samples - context, context)

    def _texts(self, state: StreamState, first: int, stop: int) -> tuple[str, ...] | None:
        words = self.found.words
        if words is None or words.untimed is None:
            words = Words(cues=state.cues)
        span = Span(state.start_seconds, state.start_seconds)
        schedule = Schedule(span, self.hop_seconds, self.config.windows.hops, stop)
        texts = cut_words(words, schedule, self.limits, first)
        return texts if any(texts) else None

    def _cues(self, before: tuple[Cue, ...]) -> tuple[Cue, ...]:
        """The cues that wait and those of the chunk, in the order of their times."""
        words, offset = self.found.words, self.chunk.offset_seconds
        new = () if words is None else words.cues
        placed = [Cue(cue.start_seconds + offset, cue.stop_seconds + offset, cue.text) for cue in new]
        cues = sorted(dict.fromkeys((*before, *placed)), key=lambda cue: (cue.start_seconds, cue.stop_seconds))
        if len(cues) > self.limits.max_cues:
            raise LimitExceeded(
                "cues",
                f"{len(cues)} cues of the stream wait for their time, at most {self.limits.max_cues} are allowed",
                remedy="Send each cue with the chunk that it belongs to.",
            )
        return tuple(cues)

    def _statuses(self, before: Mapping[Modality, ModalityStatus]) -> dict[Modality, ModalityStatus]:
        """Whether each modality was used in the stream so far and, if not, why."""
        found = self.found
        used = {*found.spans()}
        used |= {
            name
            for name, it in (("text", found.words), ("image", found.image), ("tabular", found.row))
            if it is not None
        }
        statuses: dict[Modality, ModalityStatus] = {}
        for name in dict.fromkeys((*ALWAYS_LISTED, *self.config.modalities, *self.request.parts, *before)):
            known = before.get(name)
            if name in used or (known is not None and known.used):
                statuses[name] = ModalityStatus(used=True)
            elif name not in self.config.modalities:
                statuses[name] = NOT_IN_MODEL.status
            elif name in found.faults:
                statuses[name] = found.faults[name].status
            else:
                statuses[name] = known or NOT_SENT.status
        return statuses

    def _trimmed(self, state: StreamState, num_hops: int, clock: float) -> StreamState:
        """The state without what no hop after the first ``num_hops`` asks for."""
        begin = state.start_seconds + num_hops * self.hop_seconds
        per_hop = {
            "video": self.config.video.frames_per_hop if self.config.video else 0,
            "depth": self.config.depth.frames_per_hop if self.config.depth else 0,
        }
        return replace(
            state,
            clock_seconds=clock,
            next_hop=num_hops,
            pictures={name: each.since(num_hops * per_hop[name]) for name, each in state.pictures.items()},
            sound=None if state.sound is None else state.sound.since(self._samples(state, num_hops)[0]),
            rows={name: each.since(begin) for name, each in state.rows.items()},
            cues=tuple(cue for cue in state.cues if cue.stop_seconds > begin),
            presence={name: each.since(begin) for name, each in state.presence.items()},
        )


def _seen(presence: Mapping[Modality, Presence], clip: Clip) -> dict[Modality, Presence]:
    return {name: replace(each, was_seen=each.was_seen or name in clip.masks) for name, each in presence.items()}
