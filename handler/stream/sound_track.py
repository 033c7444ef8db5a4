"""A stream's sound, chunk by chunk: what a chunk has of it goes on to the sample where the one before ended.

The decoder begins each chunk with the last packets of the one before, whose sound is thrown away; the line that the
samples are laid on (:mod:`handler.sound_line`) goes on from its state.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

import av
import numpy as np
from av.packet import Packet
from numpy.typing import NDArray

from handler.audio import checked_sound, read_format, read_samples, ready_context
from handler.container import AudioStream, Container
from handler.errors import ActivityError, UndecodableMedia
from handler.limits import Limits
from handler.packets import REMEDY, skipped_samples
from handler.resampling import ResamplerState
from handler.sound_line import LineState, Placed, SoundFormat, SoundLine
from handler.stream.packets import Lead, bare, decode_seconds, follows, joined, take_lead

LEAD_PACKETS = 32
"""Packets of sound that the next chunk's decoder begins with: after 25 of Opus, 20 ms each, what came before them is no
more than rounding."""

_MAX_SILENCE_SECONDS = 10.0
"""A longer gap is not filled: the sound begins anew after it."""

_MAX_LEAD_BYTES = 24 * 1024
"""Of these packets: codecs whose packets are longer need no other to begin."""


@dataclass(frozen=True)
class SoundState:
    """A stream's sound up to here."""

    line: LineState
    first: int
    """Number of the first sample that is kept, at the model's rate, counted from the line's start."""
    samples: NDArray[np.float32] = field(repr=False)
    """``(L,)`` float32 in [-1, 1]: the last ones at the model's rate."""
    decoded_seconds: float
    """When the last packet was decoded, by the stream's clock."""
    counted_seconds: float
    """Where the last sample that counted ends by its packet's time; the line may be a little before or behind."""
    lead: Lead | None

    @property
    def start_seconds(self) -> float:
        """Where the line's first sample lies on the stream's clock."""
        return self.line.start_seconds

    @property
    def stop_seconds(self) -> float:
        """Where the next sample belongs."""
        return self.line.stop_seconds

    @property
    def num_samples(self) -> int:
        """Samples at the model's rate, counted from the line's start."""
        return self.first + len(self.samples)

    def since(self, first: int) -> Self:
        """The state without what lies before sample ``first``."""
        skipped = min(max(0, first - self.first), len(self.samples))
        return replace(self, first=self.first + skipped, samples=self.samples[skipped:].copy())

    def ended(self, sample_rate: int, limits: Limits) -> Self:
        """The state with what the resampler still holds, as if nothing followed; it goes on all the same."""
        line = SoundLine(sample_rate, _endless(limits), state=self.line)
        return replace(self, samples=_placed(self.samples, self.first, line.finish()))

    def values(self) -> dict[str, Any]:
        """For the token: JSON values, bytes and arrays."""
        line = asdict(self.line)
        return {
            "line": {**line, "resampler": {**line["resampler"]}},
            "first": self.first,
            "samples": self.samples,
            "decoded_seconds": self.decoded_seconds,
            "counted_seconds": self.counted_seconds,
            "lead": None if self.lead is None else self.lead.values(),
        }

    @classmethod
    def of_values(cls, values: Mapping[str, Any]) -> Self:
        """What :meth:`values` gave."""
        line = dict(values["line"])
        line |= {"format": SoundFormat(**line["format"]), "resampler": ResamplerState(**line["resampler"])}
        lead = None if values["lead"] is None else Lead.of_values(values["lead"])
        times = values["decoded_seconds"], values["counted_seconds"]
        return cls(LineState(**line), values["first"], values["samples"], *times, lead)


def continue_sound(
    container: Container,
    state: SoundState | None,
    sample_rate: int,
    limits: Limits,
    *,
    start_seconds: float | None,
    stop_seconds: float | None,
    is_fragment: bool,
) -> SoundState:
    """Decode a chunk's sound.

    Args:
        container: its sound's packets lie on the stream's clock.
        state: the sound up to here; None where there was none.
        sample_rate: of the model, in Hz.
        limits: bounds on sample rate and channels; that on seconds has been held of the chunk's packets.
        start_seconds: what lies before is not counted; None for the chunk's start.
        stop_seconds: what lies after is not counted; None for the chunk's end.
        is_fragment: the chunk's first packet is none of the recording.

    Raises:
        ActivityError: as :func:`handler.audio.decode_waveform`.
    """
    stream = checked_sound(container, limits)
    begin = max(stream.span.start_seconds, -math.inf if start_seconds is None else start_seconds)
    if state is not None and begin - state.stop_seconds > _MAX_SILENCE_SECONDS:
        state = None
    lead = None if state is None or state.lead is None or not follows(state.lead, stream) else state.lead
    before = None if state is None else replace(state.line, num_runs=1, seconds_before=0.0, num_decoded=0)
    line = SoundLine(sample_rate, _endless(limits), first_seconds=stream.span.start_seconds, state=before)
    samples, first = (np.zeros(0, dtype=np.float32), 0) if state is None else (state.samples, state.first)
    num_decoded = 0
    counted = stream.span.start_seconds if state is None else state.counted_seconds
    try:
        placed: list[Placed] = []
        for frame in _decode(stream, lead, cuts_start=_cuts_start(stream, before, lead, is_fragment=is_fragment)):
            line.check(read_format(frame))
            found, form, seconds = _counted(frame, stream, start_seconds, stop_seconds)
            num_decoded += found.shape[1]
            if found.shape[1]:
                counted = (counted if seconds is None else seconds) + found.shape[1] / form.rate
            placed += line.append(found, form, seconds)
        placed += line.settle()
    except (ActivityError, MemoryError):
        raise
    except Exception as exc:
        raise UndecodableMedia(f"the sound of codec {stream.codec} does not decode", remedy=REMEDY) from exc
    if line.state is None or not num_decoded:
        raise UndecodableMedia(
            f"no sample came out of {stream.packets.num_packets} packets of codec {stream.codec}", remedy=REMEDY
        )
    return SoundState(
        line=line.state,
        first=first,
        samples=_placed(samples, first, placed),
        decoded_seconds=decode_seconds(stream.packets, -1),
        counted_seconds=counted,
        lead=_lead(stream if lead is None else replace(stream, packets=joined(lead, stream.packets))),
    )


def _endless(limits: Limits) -> Limits:
    """The limits, but for the seconds: a stream may last longer than any one request."""
    return limits.model_copy(update={"max_duration_seconds": float("inf")})


def _counted(
    frame: av.AudioFrame, stream: AudioStream, start_seconds: float | None, stop_seconds: float | None
) -> tuple[NDArray[Any], SoundFormat, float | None]:
    """Of a frame what lies between two times: samples ``(C, L)``, their format, when they begin."""
    samples, form, rate = read_samples(frame), read_format(frame), frame.sample_rate
    if frame.pts is None:
        return samples, form, None
    seconds = float(stream.packets.seconds(np.array([frame.pts], dtype=np.int64))[0])
    if start_seconds is not None and seconds < start_seconds:
        samples, seconds = samples[:, round((start_seconds - seconds) * rate) :], start_seconds
    if stop_seconds is not None:
        samples = samples[:, : max(0, round((stop_seconds - seconds) * rate))]
    return samples, form, seconds


def _placed(samples: NDArray[np.float32], first: int, parts: Iterable[Placed]) -> NDArray[np.float32]:
    """``samples``, the first of which is number ``first``, with further ones at their places."""
    found = list(parts)
    length = max([len(samples), *(part.place - first + len(part.samples) for part in found)])
    whole = np.zeros(length, dtype=np.float32)
    whole[: len(samples)] = samples
    for part in found:
        start = part.place - first
        whole[max(0, start) : max(0, start + len(part.samples))] = part.samples[max(0, -start) :]
    return whole


def _lead(stream: AudioStream) -> Lead:
    """The packets that the next chunk begins with, those of short chunks before this one among them."""
    items = stream.packets.items
    num_kept = min(LEAD_PACKETS, len(items))
    while num_kept > 1 and sum(item.size for item in items[-num_kept:]) > _MAX_LEAD_BYTES:
        num_kept -= 1
    return take_lead(stream, len(items) - num_kept)


def _cuts_start(stream: AudioStream, line: LineState | None, lead: Lead | None, *, is_fragment: bool) -> bool:
    """Whether what a file says is to be cut at its start belongs to the encoder's delay.

    A header says it of the recording's start, and so does that of a piece whose packets were copied: there the first
    packet, not what is left of it, begins where the sound before ended.
    """
    if line is None or lead is None:
        return not is_fragment
    begin = float(stream.packets.seconds(stream.packets.pts[:1])[0])
    skipped = skipped_samples(stream.packets.items[0])[0] / (stream.sample_rate or line.format.rate)
    return abs(begin + skipped - line.stop_seconds) < abs(begin - line.stop_seconds)


def _decode(stream: AudioStream, lead: Lead | None, *, cuts_start: bool) -> Iterator[av.AudioFrame]:
    """The chunk's own frames; faulty packets are passed over."""
    packets = stream.packets
    items: Sequence[Packet[Any]] = packets.items
    if not cuts_start:
        items = (bare(items[0]), *items[1:])
    context = ready_context(stream)
    first_pts = int(packets.pts[0])
    for before in [] if lead is None else lead.items(packets.time_base, -packets.zero_seconds):
        with suppress(av.FFmpegError):
            context.decode(before)
    for item in (*items, None):
        with suppress(av.FFmpegError):
            for frame in context.decode(item):
                if frame.pts is None or lead is None or frame.pts >= first_pts:
                    yield frame
