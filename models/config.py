"""The configuration of a model: one pydantic tree that builds it and travels with its weights."""

from __future__ import annotations

from itertools import combinations
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from models.embedding_config import EmbeddingConfig, pair_key
from models.encoder_config import (
    AudioConfig,
    DepthConfig,
    ImageConfig,
    TabularConfig,
    TextConfig,
    VectorConfig,
    VideoConfig,
)
from models.fusion_config import CrossAttentionConfig, FusionConfig
from models.module_names import MODULE_ATTRIBUTES
from models.settings import Fraction, PositiveFloat, PositiveInt, Settings
from models.side_config import CaptionerConfig, TranscriberConfig
from models.zero_shot_config import ZeroShotConfig

Modality = str
"""One of ``MODALITIES``, or the name of a timed sequence of vectors such as ``"imu"``."""
MODALITIES: tuple[Modality, ...] = ("video", "audio", "text", "image", "tabular", "depth")

MAX_NAMELESS_LABELS = 100_000
RESERVED_NAMES = frozenset({*MODALITIES, "clip", "options", "state", "body"})
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]


class WindowConfig(Settings):
    """The schedule: windows of ``hops`` hops, one starting at each hop of ``stride_seconds``."""

    stride_seconds: PositiveFloat = 0.5
    hops: PositiveInt = 4

    @property
    def window_seconds(self) -> float:
        """Length of a window in seconds."""
        return self.stride_seconds * self.hops


class HeadConfig(Settings):
    """The classifier. ``single_label`` scores by softmax, ``multi_label`` by sigmoid.

    ``hidden`` is the width of its hidden layer; null leaves it out, as ``activity fit`` does.
    """

    task: Literal["single_label", "multi_label"] = "single_label"
    hidden: PositiveInt | None = 128


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


def _name_labels(value: object) -> object:
    """A number stands for so many labels without a meaning, as a measurement of cost needs them."""
    if type(value) is not int:
        return value
    if value > MAX_NAMELESS_LABELS:
        raise ValueError(f"{value} labels are too many, at most {MAX_NAMELESS_LABELS} are allowed")
    return tuple(f"class_{index:03d}" for index in range(value))


class ModelConfig(Settings):
    """Everything that is needed to rebuild a model and to feed it.

    ``width`` is the token width D. ``labels`` are names, or their number where they need none; with ``zero_shot`` there
    need be none, as a request can name them.
    """

    width: PositiveInt = 128
    dropout: Fraction = 0.1
    labels: Annotated[tuple[str, ...], BeforeValidator(_name_labels)] = ()
    windows: WindowConfig = WindowConfig()
    video: VideoConfig | None = VideoConfig()
    audio: AudioConfig | None = AudioConfig()
    text: TextConfig | None = TextConfig()
    image: ImageConfig | None = None
    tabular: TabularConfig | None = None
    depth: DepthConfig | None = None
    vectors: dict[Name, VectorConfig] = Field(default_factory=dict)
    fusion: FusionConfig = CrossAttentionConfig()
    embedding: EmbeddingConfig | None = None
    head: HeadConfig = HeadConfig()
    zero_shot: ZeroShotConfig | None = None
    decision: DecisionConfig = DecisionConfig()
    transcriber: TranscriberConfig | None = None
    captioner: CaptionerConfig | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("labels must be unique")
        if len(self.labels) < 2 and self.zero_shot is None:
            raise ValueError(f"labels must be at least 2, got {len(self.labels)}")
        if not self.modalities:
            raise ValueError(f"at least one of {', '.join(MODALITIES)} or a sequence of vectors must be configured")
        taken = {name for name in self.vectors if name in RESERVED_NAMES or name in MODULE_ATTRIBUTES}
        if taken:
            raise ValueError(f"vectors cannot be named {', '.join(sorted(taken))}: the name is taken")
        for name, vector in self.vectors.items():
            if vector.rows_per_hop(self.windows.stride_seconds) < 1:
                raise ValueError(
                    f"rate_hz {vector.rate_hz:g} of {name} gives no row in a hop of {self.windows.stride_seconds} s"
                )
        if self.zero_shot is None:
            self.fusion.check(self.modalities, self.width)
        else:
            encoders = {name: getattr(getattr(self, name, None), "pretrained", None) for name in self.modalities}
            self.zero_shot.check(encoders, self.labels)
            if self.embedding is not None:
                raise ValueError("embedding is of towers that training makes: with zero_shot leave it out")
        self._check_embedding()
        if self.audio is not None:
            self.audio.check_hop(self.heard_samples)
        return self

    def _check_embedding(self) -> None:
        if self.window_spanned and (self.embedding is not None or self.zero_shot is not None):
            raise ValueError("pretrained.span window goes neither with embedding nor with zero_shot, which embed hops")
        unknown = set(self.embedded_modalities) - set(self.modalities)
        if unknown:
            raise ValueError(
                f"embedding.modalities has {', '.join(sorted(unknown))}, the model has {', '.join(self.modalities)}"
            )
        if self.embedding is None:
            return
        if len(self.embedded_modalities) < 2:
            raise ValueError("embedding needs a model of at least two modalities")
        pairs = {pair_key(*pair) for pair in combinations(self.embedded_modalities, 2)}
        strange = set(self.embedding.scales) - pairs
        if strange:
            raise ValueError(
                f"embedding.scales has {', '.join(sorted(strange))}, the pairs are {', '.join(sorted(pairs))}"
            )

    @property
    def embedded_modalities(self) -> tuple[Modality, ...]:
        """The modalities that can be embedded alone, in the space they share; none without ``embedding``."""
        return () if self.embedding is None else self.embedding.modalities or self.modalities

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """The modalities the model has, in the order of ``MODALITIES``, then the sequences of vectors as listed."""
        return (*(name for name in MODALITIES if getattr(self, name) is not None), *self.vectors)

    @property
    def window_spanned(self) -> frozenset[Modality]:
        """The modalities whose encoder sees a whole window at once."""
        sections = {name: getattr(self, name) for name in ("video", "audio")}
        return frozenset(
            name for name, it in sections.items() if it and it.pretrained and it.pretrained.span == "window"
        )

    @property
    def heard_samples(self) -> int:
        """Samples of waveform that the sound encoder hears at once."""
        return self.hop_samples * (self.windows.hops if "audio" in self.window_spanned else 1)

    @property
    def hop_samples(self) -> int:
        """Samples of waveform in one hop."""
        if self.audio is None:
            raise ValueError("this model has no audio")
        return round(self.windows.stride_seconds * self.audio.sample_rate)
