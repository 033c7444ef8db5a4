"""How long a hop of sound an encoder takes, and how much of what it gives that hop fills: arithmetic of its settings.

Whisper, CLAP and the audio spectrogram transformer hear a fixed span, which their own extractors fill up with silence
or with the hop again; what they say of the rest says nothing of the hop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

KALDI_WINDOW_SECONDS, KALDI_SHIFT_SECONDS = 0.025, 0.010
"""Of the filter banks that the audio spectrogram transformer is given."""

WHISPER_STRIDE = 2  # mel frames a column: of its second convolution

AST_TIME_STRIDE = 10
CONV_KERNELS, CONV_STRIDES = (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)
"""What the library takes where an older ``config.json`` leaves out AST's stride or a waveform's convolutions."""


def check_hop(source: str, architecture: Mapping[str, Any], processor: Mapping[str, Any], hop_samples: int) -> None:
    """Check that an encoder hears a whole hop.

    Args:
        source: what the message calls it.
        architecture: the source's ``config.json``.
        processor: its feature extractor's settings.
        hop_samples: samples of a hop.

    Raises:
        ValueError: the hop is longer than what the encoder hears at once, or too short to give anything.
    """
    shortest, longest = _limits(architecture, processor)
    rate = processor["sampling_rate"]
    if hop_samples < shortest:
        raise ValueError(
            f"a hop of {hop_samples / rate:g} s is too short for {source}: it needs {shortest / rate:g} s or more"
        )
    if longest is not None and hop_samples > longest:
        raise ValueError(
            f"a hop of {hop_samples / rate:g} s is too long for {source}: it hears {longest / rate:g} s at once, "
            "and would leave out the rest. Choose a shorter stride_seconds"
        )


def count_filled(
    architecture: Mapping[str, Any], processor: Mapping[str, Any], hop_samples: int, *, num_columns: int
) -> int:
    """How many of an encoder's first columns in time hold the hop's own sound, at least one.

    Args:
        architecture: the source's ``config.json``.
        processor: its feature extractor's settings.
        hop_samples: samples of a hop.
        num_columns: columns in all.
    """
    kind = architecture["model_type"]
    if kind == "whisper":
        filled = _ceil(hop_samples, WHISPER_STRIDE * processor["hop_length"])
    elif kind == "audio-spectrogram-transformer":
        filled = _ceil(_kaldi_frames(processor, hop_samples), architecture.get("time_stride", AST_TIME_STRIDE))
    elif kind == "clap":
        filled = _ceil(num_columns * hop_samples, processor["nb_max_samples"])
    else:
        filled = num_columns  # the encoder hears the hop and nothing else
    return max(1, min(filled, num_columns))


def _limits(architecture: Mapping[str, Any], processor: Mapping[str, Any]) -> tuple[int, int | None]:
    """The fewest and the most samples of a hop."""
    kind = architecture["model_type"]
    if kind == "whisper":
        return 1, processor["chunk_length"] * processor["sampling_rate"]
    if kind == "clap":
        return 1, processor["nb_max_samples"]
    if kind == "audio-spectrogram-transformer":
        window, shift = _kaldi_samples(processor)
        return window, window + processor["max_length"] * shift - 1
    return _receptive_field(
        architecture.get("conv_kernel", CONV_KERNELS), architecture.get("conv_stride", CONV_STRIDES)
    ), None


def _receptive_field(kernels: Sequence[int], strides: Sequence[int]) -> int:
    """Samples that give the first column of a stack of convolutions."""
    samples = 1
    for kernel, stride in reversed(list(zip(kernels, strides, strict=True))):
        samples = (samples - 1) * stride + kernel
    return samples


def _kaldi_samples(processor: Mapping[str, Any]) -> tuple[int, int]:
    rate = processor["sampling_rate"]
    return int(rate * KALDI_WINDOW_SECONDS), int(rate * KALDI_SHIFT_SECONDS)


def _kaldi_frames(processor: Mapping[str, Any], samples: int) -> int:
    """Frames of the filter banks: only those that lie wholly inside."""
    window, shift = _kaldi_samples(processor)
    return 1 + (samples - window) // shift


def _ceil(number: int, divisor: int) -> int:
    return -(-number // divisor)
