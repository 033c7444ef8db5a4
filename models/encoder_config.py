"""The configuration of each modality's encoder, its preprocessing included."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from models.pretrained.config import PretrainedConfig
from models.pretrained.hops import check_hop
from models.settings import Fraction, PositiveFloat, PositiveInt, Settings


def _check_pretrained(encoder: str, pretrained: PretrainedConfig | None) -> None:
    """Hold ``encoder: pretrained`` and its section together."""
    if (encoder == "pretrained") != (pretrained is not None):
        raise ValueError("encoder: pretrained and the section pretrained come together, with at least its source")


class CropConfig(Settings):
    """The square of the picture that is looked at, as shares of its width (``left``, ``side``) and height (``top``)."""

    left: Fraction
    top: Fraction
    side: Annotated[float, Field(ge=0.25, le=1.0)]

    @model_validator(mode="after")
    def _inside(self) -> Self:
        if max(self.left, self.top) + self.side > 1.0 + 1e-9:  # sums of decimals round
            raise ValueError(f"left {self.left} and top {self.top} must be at most 1 - side = {1.0 - self.side:g}")
        return self

    def pixels(self, size: int) -> tuple[int, int, int]:
        """For a crop of ``size`` pixels: the side of the whole picture, and the crop's first column and row."""
        whole = round(size / self.side)
        return whole, min(round(self.left * whole), whole - size), min(round(self.top * whole), whole - size)


class VideoConfig(Settings):
    """An encoder over one hop's frames; ``size`` is the side of the square frame in pixels, after ``crop``.

    ``tubelet``: a space-time transformer over tubelets of ``tubelet_frames`` x ``patch_size`` x ``patch_size``, of
    ``depth`` layers. ``cnn``: a 3-D stem and 2-D stages of ``channels``, for small movements at many frames a second
    and few clips; it gives a token for ``tubelet_frames`` frames. ``pretrained``: one that others have trained; its
    source says ``size``, ``mean`` and ``std``, and its own processor crops.
    """

    encoder: Literal["tubelet", "cnn", "pretrained"] = "tubelet"
    pretrained: PretrainedConfig | None = None
    frames_per_hop: PositiveInt = 4
    size: PositiveInt = 64
    crop: CropConfig | None = None
    tubelet_frames: PositiveInt = 2
    channels: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (32, 64, 96)
    patch_size: PositiveInt = 16
    depth: PositiveInt = 3
    heads: PositiveInt = 4
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.25, 0.25, 0.25)

    @model_validator(mode="after")
    def _divides(self) -> Self:
        _check_pretrained(self.encoder, self.pretrained)
        if self.encoder == "pretrained" and self.crop is not None:
            raise ValueError("a pretrained encoder's own processor crops: leave out crop")
        if self.encoder != "tubelet":  # of any size and any number of frames
            return self
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

    ``channels``: one stage each, of stride 2. ``convolutions``: how many of 3 x 3 each stage has; null is one each.
    ``time_strides``: each stage's stride in time, where it is not that in frequency: a beat of 15 Hz, of a rotor for
    example, is lost once there are fewer than 30 frames a second. ``norm``: ``batch`` trains deep networks on few
    clips better and is fixed afterwards. ``frequency``: whether the projection sees each band (``keep``) or their
    ``mean``. ``pool``: over a token's time, ``mean``; its sum with the maximum, which hears a short sound in a long
    silence; or both beside the standard deviation, which tells textures such as rain and surf (statistics pooling,
    Snyder et al. 2018). ``dropout``: of what the projection sees.

    ``encoder: pretrained`` is one that others have trained, with its own preprocessing of raw samples.
    """

    encoder: Literal["cnn", "pretrained"] = "cnn"
    pretrained: PretrainedConfig | None = None
    sample_rate: PositiveInt = 16_000
    n_fft: PositiveInt = 400
    hop_length: PositiveInt = 160
    n_mels: PositiveInt = 64
    mean: float = -9.0
    std: PositiveFloat = 3.0
    channels: tuple[PositiveInt, ...] = (32, 64, 96)
    convolutions: tuple[PositiveInt, ...] | None = None
    time_strides: tuple[PositiveInt, ...] | None = None
    norm: Literal["group", "batch"] = "group"
    activation: Literal["gelu", "relu"] = "gelu"
    frequency: Literal["keep", "mean"] = "keep"
    pool: Literal["mean", "mean_max", "mean_max_std"] = "mean"
    dropout: Fraction = 0.0
    tokens_per_hop: PositiveInt = 2

    @model_validator(mode="after")
    def _one_a_stage(self) -> Self:
        _check_pretrained(self.encoder, self.pretrained)
        for name in ("convolutions", "time_strides"):
            given = getattr(self, name)
            if given is not None and len(given) != len(self.channels):
                raise ValueError(f"{len(given)} {name} do not fit {len(self.channels)} channels: one each")
        return self

    @property
    def context_samples(self) -> int:
        """Samples that a hop shares with its neighbours: none where a pretrained encoder's preprocessing takes hops."""
        return 0 if self.pretrained is not None else self.n_fft - self.hop_length

    def check_hop(self, hop_samples: int) -> None:
        """Check that a hop of so many samples can be encoded.

        Raises:
            ValueError: it holds no whole number of mel frames, or the pretrained encoder does not take it.
        """
        if self.pretrained is None and hop_samples % self.hop_length:
            raise ValueError(
                f"stride_seconds is {hop_samples} samples, which must be a multiple of hop_length {self.hop_length}"
            )
        if self.pretrained is not None and self.pretrained.architecture is not None:
            check_hop(
                self.pretrained.source, self.pretrained.architecture, self.pretrained.processor or {}, hop_samples
            )

    @property
    def stage_convolutions(self) -> tuple[int, ...]:
        """How many convolutions each stage has."""
        return self.convolutions or (1,) * len(self.channels)

    @property
    def stage_strides(self) -> tuple[tuple[int, int], ...]:
        """Each stage's stride in frequency and in time."""
        return tuple((2, stride) for stride in self.time_strides or (2,) * len(self.channels))

    @model_validator(mode="after")
    def _frames_meet(self) -> Self:
        if self.hop_length > self.n_fft:
            raise ValueError(f"hop_length {self.hop_length} must not exceed n_fft {self.n_fft}: sound would go unseen")
        return self


class TextConfig(Settings):
    """The text transformer over the words of one hop, cut after ``max_tokens`` tokens; or a pretrained one."""

    encoder: Literal["transformer", "pretrained"] = "transformer"
    pretrained: PretrainedConfig | None = None
    vocab_size: PositiveInt = 512
    max_tokens: PositiveInt = 32
    depth: PositiveInt = 2
    heads: PositiveInt = 4

    @model_validator(mode="after")
    def _has_its_section(self) -> Self:
        _check_pretrained(self.encoder, self.pretrained)
        return self


class DepthConfig(VideoConfig):
    """Depth as a video of one channel: the same encoder, over grey frames."""

    mean: tuple[float] = (0.5,)  # type: ignore[assignment]
    std: tuple[PositiveFloat] = (0.25,)  # type: ignore[assignment]

    @model_validator(mode="after")
    def _is_grey(self) -> Self:
        if self.encoder == "pretrained":
            raise ValueError("depth has no pretrained encoder: known are tubelet and cnn")
        return self


class ImageConfig(Settings):
    """One picture a clip: a 2-D CNN or a ViT over it; ``size`` is the side of the square picture in pixels.

    ``channels`` are the CNN's, one a stage; ``patch_size``, ``depth`` and ``heads`` are the ViT's. ``pretrained``: as
    for video.
    """

    encoder: Literal["cnn", "vit", "pretrained"] = "cnn"
    pretrained: PretrainedConfig | None = None
    size: PositiveInt = 64
    channels: tuple[PositiveInt, ...] = (32, 64, 96)
    patch_size: PositiveInt = 16
    depth: PositiveInt = 3
    heads: PositiveInt = 4
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (0.25, 0.25, 0.25)

    @model_validator(mode="after")
    def _divides(self) -> Self:
        _check_pretrained(self.encoder, self.pretrained)
        if self.encoder == "vit" and self.size % self.patch_size:
            raise ValueError(f"size {self.size} must be a multiple of patch_size {self.patch_size}")
        return self


class NumericColumn(Settings):
    """A number of the table; mean and standard deviation are learned from the training split."""

    mean: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    std: PositiveFloat = 1.0


class TabularConfig(Settings):
    """One row a clip: an MLP over numbers and categories.

    A recipe names the columns; training learns each number's mean and standard deviation, and the values of each
    category that the recipe leaves empty, and writes them here, so that they travel with the weights.
    """

    numeric: dict[str, NumericColumn] = Field(default_factory=dict)
    categorical: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    hidden: PositiveInt = 64
    embedding_width: PositiveInt = 16

    @model_validator(mode="after")
    def _names_columns(self) -> Self:
        if not self.numeric and not self.categorical:
            raise ValueError("a table needs at least one column, numeric or categorical")
        twice = self.numeric.keys() & self.categorical.keys()
        if twice:
            raise ValueError(f"columns cannot be both numeric and categorical: {', '.join(sorted(twice))}")
        for name, values in self.categorical.items():
            if len(set(values)) != len(values):
                raise ValueError(f"the values of {name} must be unique")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column, numbers first."""
        return (*self.numeric, *self.categorical)


class VectorConfig(Settings):
    """A timed sequence of vectors, for example of an inertial sensor, resampled to ``rate_hz``.

    ``channels`` is the number of values at each time; ``mean`` and ``std``, one a channel, are learned from the
    training split. ``hidden`` are the CNN's channels, one a stage; ``depth`` and ``heads`` are the transformer's.
    """

    channels: PositiveInt
    rate_hz: PositiveFloat
    encoder: Literal["linear", "cnn", "transformer"] = "cnn"
    hidden: tuple[PositiveInt, ...] = (32, 64)
    depth: PositiveInt = 2
    heads: PositiveInt = 4
    tokens_per_hop: PositiveInt = 1
    mean: tuple[Annotated[float, Field(allow_inf_nan=False)], ...] | None = None
    std: tuple[PositiveFloat, ...] | None = None

    @model_validator(mode="after")
    def _one_a_channel(self) -> Self:
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and len(values) != self.channels:
                raise ValueError(f"{name} has {len(values)} values, one for each of {self.channels} channels is needed")
        return self

    def rows_per_hop(self, stride_seconds: float) -> int:
        """Rows of the resampled sequence in one hop."""
        return round(self.rate_hz * stride_seconds)
