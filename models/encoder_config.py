"""The configuration of each modality's encoder, its preprocessing included."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from models.settings import PositiveFloat, PositiveInt, Settings


class VideoConfig(Settings):
    """The space-time transformer over one hop's frames; ``size`` is the side of the square frame in pixels."""

    frames_per_hop: PositiveInt = 4
    size: PositiveInt = 64
    tubelet_frames: PositiveInt = 2
    patch_size: PositiveInt = 16
    depth: PositiveInt = 3
    heads: PositiveInt = 4
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.25, 0.25, 0.25)

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.size % self.patch_size:
            raise ValueError(f"size {self.size} must be a multiple of patch_size {self.patch_size}")
        if self.frames_per_hop % self.tubelet_frames:
            raise ValueError(
                f"frames_per_hop {self.frames_per_hop} must be a multiple of tubelet_frames {self.tubelet_frames}"
            )
        return self


class AudioConfig(Settings):
    """The log-mel spectrogram and the CNN over one hop of it.

    ``sample_rate`` in Hz, ``n_fft`` and ``hop_length`` in samples, ``n_mels`` in bins; ``mean`` and ``std`` are of
    the natural logarithm of the mel power.
    """

    sample_rate: PositiveInt = 16_000
    n_fft: PositiveInt = 400
    hop_length: PositiveInt = 160
    n_mels: PositiveInt = 64
    mean: float = -9.0
    std: PositiveFloat = 3.0
    channels: tuple[PositiveInt, ...] = (32, 64, 96)
    tokens_per_hop: PositiveInt = 2

    @model_validator(mode="after")
    def _frames_meet(self) -> Self:
        if self.hop_length > self.n_fft:
            raise ValueError(f"hop_length {self.hop_length} must not exceed n_fft {self.n_fft}: sound would go unseen")
        return self


class TextConfig(Settings):
    """The text transformer over the words of one hop, cut after ``max_tokens`` tokens."""

    vocab_size: PositiveInt = 512
    max_tokens: PositiveInt = 32
    depth: PositiveInt = 2
    heads: PositiveInt = 4


class DepthConfig(VideoConfig):
    """Depth as a video of one channel: the same encoder, over grey frames."""

    mean: tuple[float, ...] = (0.5,)  # type: ignore[assignment]
    std: tuple[float, ...] = (0.25,)  # type: ignore[assignment]


class ImageConfig(Settings):
    """One picture a clip: a 2-D CNN or a ViT over it; ``size`` is the side of the square picture in pixels."""

    encoder: Literal["cnn", "vit"] = "cnn"
    size: PositiveInt = 64
    channels: tuple[PositiveInt, ...] = (32, 64, 96)
    patch_size: PositiveInt = 16
    depth: PositiveInt = 3
    heads: PositiveInt = 4
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.25, 0.25, 0.25)


class NumericColumn(Settings):
    """A number of the table; mean and standard deviation are learned from the training split."""

    mean: float = 0.0
    std: PositiveFloat = 1.0


class TabularConfig(Settings):
    """One row a clip: an MLP over numbers and categories.

    A recipe names the columns; training learns each number's mean and standard deviation and each category's values,
    and writes them here, so that they travel with the weights.
    """

    numeric: dict[str, NumericColumn] = Field(default_factory=dict)
    categorical: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    hidden: PositiveInt = 64
    embedding_width: PositiveInt = 16


class VectorConfig(Settings):
    """A timed sequence of vectors, for example of an inertial sensor, resampled to ``rate_hz``.

    ``channels`` is the number of values at each time; ``mean`` and ``std``, one a channel, are learned from the
    training split.
    """

    channels: PositiveInt
    rate_hz: PositiveFloat
    encoder: Literal["linear", "cnn", "transformer"] = "cnn"
    hidden: tuple[PositiveInt, ...] = (32, 64)
    depth: PositiveInt = 2
    heads: PositiveInt = 4
    tokens_per_hop: PositiveInt = 1
    mean: tuple[float, ...] | None = None
    std: tuple[PositiveFloat, ...] | None = None
