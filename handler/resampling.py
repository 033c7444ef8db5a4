"""Sound at another sample rate, whole or in pieces: the same bits wherever it is cut.

The filter is torchaudio's windowed sinc (``torchaudio.functional.resample``, after Julius O. Smith's *Digital Audio
Resampling*): an output sample is a weighted sum of the few input samples around its time, with weights that repeat
every ``rate / gcd`` input samples. torchaudio stores each set of weights among ``rate / gcd`` zeros and multiplies by
them all; here only the weights are kept, so that rates that have little in common need no other way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_ZERO_CROSSINGS = 6
"""Of the sinc to either side, after which its window is zero."""

_ROLLOFF = 0.99
"""Share of the lower of the two bands that passes."""

_BLOCK_SAMPLES = 4_096
"""Output samples that are made at once, where the weights do not say otherwise: a few hundred KB of inputs.

Rates whose weights repeat less often than that have megabytes of them; they are made anew for each file.
"""


@dataclass(frozen=True)
class ResamplerState:
    """Where a :class:`StreamResampler` stands: all that it needs to go on."""

    num_pushed: int
    """Input samples so far."""
    num_given: int
    """Output samples so far."""
    tail: NDArray[np.float32]
    """``(L,)``: the last input samples, which the next output samples need; L is below ``14 * rate / min(rate,
    sample_rate) + 4``, and 0 where both rates are equal."""

    def __post_init__(self) -> None:
        if self.num_pushed < 0 or self.num_given < 0:
            raise ValueError(f"a state counts from 0, got {self.num_pushed} and {self.num_given} samples")
        if self.tail.ndim != 1 or self.tail.dtype != np.float32:
            raise ValueError(f"the tail must be (L,) float32, got {self.tail.shape} {self.tail.dtype}")


@dataclass(frozen=True, eq=False)
class _Kernel:
    """The weights of two rates: of as many output samples as are made at once, after which they repeat."""

    rate: int
    """Input samples of one repetition."""
    sample_rate: int
    """Output samples of one repetition."""
    reach: int
    """Input samples before an output sample's time that count."""
    weights: NDArray[np.float32]
    """``(sample_rate, taps)``: for output sample p of each repetition. The first weight is for the input sample
    ``reach`` before the last one that begins no later than the output sample."""
    offsets: NDArray[np.int64]
    """``(sample_rate,)``: for output sample p of each repetition the input sample of its first weight."""

    @property
    def taps(self) -> int:
        """Weights of one output sample, some of them zero."""
        return int(self.weights.shape[1])

    def first(self, place: int) -> int:
        """The first input sample that output sample ``place`` needs; negative ones are silence."""
        return place * self.rate // self.sample_rate - self.reach

    def num_ready(self, num_pushed: int) -> int:
        """Output samples that so many input samples suffice for."""
        num_starts = num_pushed - self.taps + self.reach + 1
        return max(0, -(-num_starts * self.sample_rate // self.rate))

    def apply(self, samples: NDArray[np.float32], first: int, start: int, stop: int) -> NDArray[np.float32]:
        """Output samples ``start .. stop - 1`` from input samples that begin with number ``first``."""
        rows = np.lib.stride_tricks.sliding_window_view(samples, self.taps)
        given = np.empty(stop - start, dtype=np.float32)
        for turn in range(start // self.sample_rate, -(-stop // self.sample_rate)):
            zero = turn * self.sample_rate
            part = slice(max(start - zero, 0), min(stop - zero, self.sample_rate))
            inputs = rows[self.offsets[part] + (turn * self.rate - first)]
            # each row by itself, so that its bits do not depend on what else is made
            np.einsum("ij,ij->i", inputs, self.weights[part], out=given[part.start + zero - start :][: len(inputs)])
        return given


class StreamResampler:
    """Resamples a mono sound that comes piece by piece.

    All that is given, one after the other, is ``ceil(L * sample_rate / rate)`` samples for L pushed ones, and the same
    bits wherever the L are cut.

    Args:
        rate: of what is pushed, in Hz.
        sample_rate: of what is given, in Hz.
        state: of a resampler of the same two rates, to go on from there.

    Raises:
        ValueError: the state is not one of these rates.
    """

    def __init__(self, rate: int, sample_rate: int, state: ResamplerState | None = None) -> None:
        self._kernel = None if rate == sample_rate else _kernel(rate, sample_rate)
        if state is None:
            state = ResamplerState(0, 0, np.zeros(0 if self._kernel is None else self._kernel.reach, dtype=np.float32))
        elif not self._fits(state):
            raise ValueError(
                f"a state of {state.num_pushed} samples in, {state.num_given} out and {len(state.tail)} kept is none of"
                f" {rate} to {sample_rate} Hz"
            )
        self._num_pushed, self._num_given, self._tail = state.num_pushed, state.num_given, state.tail

    def _fits(self, state: ResamplerState) -> bool:
        if self._kernel is None:
            return state.num_given == state.num_pushed and not len(state.tail)
        is_next = state.num_given == self._kernel.num_ready(state.num_pushed)
        return is_next and len(state.tail) == state.num_pushed - self._kernel.first(state.num_given)

    @property
    def num_given(self) -> int:
        """Output samples so far."""
        return self._num_given

    @property
    def state(self) -> ResamplerState:
        """Where it stands now."""
        return ResamplerState(self._num_pushed, self._num_given, self._tail)

    def push(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take the next input samples ``(L,)`` float32; give the output samples that they complete, ``(M,)``."""
        self._num_pushed += len(samples)
        if self._kernel is None:
            self._num_given += len(samples)
            return samples
        self._tail = np.concatenate((self._tail, samples))
        return self._give(self._kernel, self._kernel.num_ready(self._num_pushed))

    def finish(self) -> NDArray[np.float32]:
        """Give what is left, ``(M,)`` float32, with silence after the last input sample. Nothing follows."""
        kernel = self._kernel
        if kernel is None:
            return np.zeros(0, dtype=np.float32)
        stop = -(-self._num_pushed * kernel.sample_rate // kernel.rate)
        self._tail = np.concatenate((self._tail, np.zeros(kernel.taps, dtype=np.float32)))
        return self._give(kernel, stop)

    def _give(self, kernel: _Kernel, stop: int) -> NDArray[np.float32]:
        """Output samples up to ``stop``; of the input what the next one needs is kept."""
        first, start = kernel.first(self._num_given), self._num_given
        if stop <= start:
            return np.zeros(0, dtype=np.float32)
        given = kernel.apply(self._tail, first, start, stop)
        self._num_given = stop
        self._tail = self._tail[kernel.first(stop) - first :].copy()  # the rest is not held on to
        return given


def resample(samples: NDArray[np.float32], rate: int, sample_rate: int) -> NDArray[np.float32]:
    """A whole mono sound ``(L,)`` float32 at another rate: ``(ceil(L * sample_rate / rate),)`` float32."""
    resampler = StreamResampler(rate, sample_rate)
    pushed = resampler.push(samples)
    return pushed if rate == sample_rate else np.concatenate((pushed, resampler.finish()))


def _kernel(rate: int, sample_rate: int) -> _Kernel:
    divisor = math.gcd(rate, sample_rate)
    rate, sample_rate = rate // divisor, sample_rate // divisor
    return (_build_kernel if sample_rate > _BLOCK_SAMPLES else _cached_kernel)(rate, sample_rate)


def _build_kernel(rate: int, sample_rate: int) -> _Kernel:
    """For two rates without a common divisor."""
    band = min(rate, sample_rate) * _ROLLOFF
    reach = math.ceil(_ZERO_CROSSINGS * rate / band)
    taps = 2 * reach + 2
    turns = max(1, _BLOCK_SAMPLES // sample_rate)
    weights = np.empty((sample_rate, taps), dtype=np.float32)
    for start in range(0, sample_rate, _BLOCK_SAMPLES):
        places = np.arange(start, min(start + _BLOCK_SAMPLES, sample_rate))
        inputs = (places * rate // sample_rate)[:, None] + np.arange(-reach, taps - reach)
        # in float32, as torchaudio has it: models have been trained on its sound
        times = (-places.astype(np.float32) / np.float32(sample_rate)).astype(np.float64)
        crossings = np.clip((times[:, None] + inputs / rate) * band, -_ZERO_CROSSINGS, _ZERO_CROSSINGS)
        window = np.cos(crossings * (math.pi / _ZERO_CROSSINGS / 2)) ** 2
        weights[start : start + len(places)] = np.sinc(crossings) * window * (band / rate)
    offsets = np.arange(sample_rate * turns, dtype=np.int64) * rate // sample_rate - reach
    return _Kernel(rate * turns, sample_rate * turns, reach, np.tile(weights, (turns, 1)), offsets)


_cached_kernel = lru_cache(maxsize=16)(_build_kernel)
