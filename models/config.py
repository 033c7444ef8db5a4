"""The configuration of a model: one pydantic tree that builds it and travels with its weights."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from models.settings import Settings

Modality = Literal["video", "audio", "text"]
MODALITIES: tuple[Modality, ...] = ("video", "audio", "text")

PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]


class WindowConfig(Settings):
    """The schedule: windows of ``hops`` hops, one starting at each hop of ``stride_seconds``."""

    stride_seconds: PositiveFloat = 0.5
    hops: PositiveInt = 4

    @property
    def window_seconds(self) -> float:
        """Length of a window in seconds."""
        return self.stride_seconds * self.hops


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


class FusionConfig(Settings):
    """Cross-modal attention over the tokens of a window."""

    heads: PositiveInt = 4
    temporal_depth: PositiveInt = 1
    cross_depth: PositiveInt = 1


class HeadConfig(Settings):
    """The classifier. ``single_label`` scores by softmax, ``multi_label`` by sigmoid."""

    task: Literal["single_label", "multi_label"] = "single_label"
    hidden: PositiveInt = 128


class DecisionConfig(Settings):
    """From scores to segments; each of these is a request's default and can be set by its options."""

    smoothing_windows: PositiveInt = 5
    lookahead_windows: Annotated[int, Field(ge=0)] = 2
    threshold: Fraction = 0.3
    min_segment_seconds: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = 1.0
    top_k: PositiveInt = 5

    @model_validator(mode="after")
    def _lookahead_fits(self) -> Self:
        if self.lookahead_windows >= self.smoothing_windows:
            raise ValueError(
                f"lookahead_windows {self.lookahead_windows} must be below smoothing_windows {self.smoothing_windows}"
            )
        return self


class ModelConfig(Settings):
    """Everything that is needed to rebuild a model and to feed it. ``width`` is the token width D."""

    width: PositiveInt = 128
    dropout: Fraction = 0.1
    labels: Annotated[tuple[str, ...], Field(min_length=2)]
    windows: WindowConfig = WindowConfig()
    video: VideoConfig | None = VideoConfig()
    audio: AudioConfig | None = AudioConfig()
    text: TextConfig | None = TextConfig()
    fusion: FusionConfig = FusionConfig()
    head: HeadConfig = HeadConfig()
    decision: DecisionConfig = DecisionConfig()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("labels must be unique")
        if not self.modalities:
            raise ValueError("at least one of video, audio, text must be configured")
        if self.audio is not None and self.hop_samples % self.audio.hop_length:
            raise ValueError(
                f"stride_seconds {self.windows.stride_seconds} is {self.hop_samples} samples, "
                f"which must be a multiple of hop_length {self.audio.hop_length}"
            )
        return self

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """The modalities the model has, in the order video, audio, text."""
        return tuple(name for name in MODALITIES if getattr(self, name) is not None)

    @property
    def hop_samples(self) -> int:
        """Samples of waveform in one hop."""
        if self.audio is None:
            raise ValueError("this model has no audio")
        return round(self.windows.stride_seconds * self.audio.sample_rate)
