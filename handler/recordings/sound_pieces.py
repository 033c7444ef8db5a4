"""A recording's sound in pieces of hops, each hop with the context that its spectrogram needs.

The samples are those of :func:`handler.audio.decode_waveform` and :func:`handler.decode.cut_samples` to the last bit,
with one exception: where the sound changes its format in mid-file and what follows begins more than a second before
what has come, the later of two samples of the same time counts only as far as its hop has not been given.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from handler.audio import checked_sound, cut_hops, decode_onto
from handler.container import Container
from handler.limits import Limits
from handler.sound_line import SoundLine
from handler.windows import Schedule
from models.encoder_config import AudioConfig

_HELD_BACK_SECONDS = 1.0
"""Sound that has to have come after a hop before it is given: where the format changes, runs can overlap a little."""


class HopCutter:
    """Collects placed samples and cuts them into hops.

    Args:
        num_hops: of the recording.
        hop_samples: samples of a hop.
        context_samples: samples that a hop has more, half of them before its start.
    """

    def __init__(self, num_hops: int, hop_samples: int, context_samples: int) -> None:
        self._num_hops = num_hops
        self._hop_samples = hop_samples
        self._context_samples = context_samples
        self._next_hop = 0
        self._samples = np.zeros(0, dtype=np.float32)
        """From the next hop's first sample on."""

    @property
    def num_left(self) -> int:
        """Hops that have not been given."""
        return self._num_hops - self._next_hop

    def num_complete(self, known: int) -> int:
        """Hops that can be given where all samples before ``known`` have come, after the recording's start."""
        after = known - (self._context_samples - self._context_samples // 2)
        return max(0, min(after // self._hop_samples - self._next_hop, self.num_left))

    def write(self, place: int, samples: NDArray[np.float32]) -> None:
        """Put samples ``(L,)`` at a place after the recording's start; what lies outside of its hops is left out."""
        start = place + self._context_samples // 2 - self._next_hop * self._hop_samples
        stop = min(start + len(samples), self.num_left * self._hop_samples + self._context_samples)
        if stop <= max(start, 0):
            return
        if stop > len(self._samples):
            self._samples = np.concatenate((self._samples, np.zeros(stop - len(self._samples), dtype=np.float32)))
        self._samples[max(start, 0) : stop] = samples[max(-start, 0) : stop - start]

    def take(self, num_hops: int) -> NDArray[np.float32]:
        """Give the next hops, ``(num_hops, P)`` float32; silence where nothing was put."""
        hops = cut_hops(self._samples, 0, num_hops, self._hop_samples, self._context_samples)
        self._samples = self._samples[num_hops * self._hop_samples :].copy()
        self._next_hop += num_hops
        return hops


def decode_sound_pieces(
    container: Container, schedule: Schedule, config: AudioConfig, hops_per_piece: int, limits: Limits
) -> Iterator[NDArray[np.float32]]:
    """Decode the sound piece by piece.

    Args:
        container: an open file with a sound.
        schedule: of the whole recording.
        config: the sample rate and the context of a hop.
        hops_per_piece: of each piece but the last.
        limits: bounds on sample rate, channels and seconds.

    Returns:
        For each piece ``(n, P)`` float32, as :func:`handler.decode.cut_samples`.

    Raises:
        ActivityError: as :func:`handler.audio.decode_waveform`, when it is met.
    """
    stream = checked_sound(container, limits)
    rate = config.sample_rate
    line = SoundLine(rate, limits, first_seconds=stream.span.start_seconds)
    cutter = HopCutter(schedule.num_hops, round(schedule.stride_seconds * rate), config.context_samples)
    held_back = round(_HELD_BACK_SECONDS * rate)

    def ready(known: int) -> Iterator[NDArray[np.float32]]:
        while cutter.num_complete(known - held_back) >= hops_per_piece:
            yield cutter.take(hops_per_piece)

    for part in decode_onto(line, stream):
        place = round((line.started_seconds - schedule.span.start_seconds) * rate) + part.place
        yield from ready(place)  # before a part that comes later there is silence, which need not be kept
        cutter.write(place, part.samples)
        yield from ready(place + len(part.samples))
    while cutter.num_left:
        yield cutter.take(min(hops_per_piece, cutter.num_left))
