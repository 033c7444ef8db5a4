"""The configuration of each fusion; ``kind`` says which. Without a ``kind`` it is ``cross_attention``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from models.settings import PositiveInt, Settings

NonNegativeInt = Annotated[int, Field(ge=0)]
Pooling = Literal["mean", "attention"]


class FusionSettings(Settings):
    """What every fusion has.

    ``positions``: ``sinusoidal`` counts a modality's tokens; ``temporal`` gives tokens of one moment the same position
    whatever their modality; ``learned`` is a table a modality of ``learned_length`` rows, stretched beyond it; ``none``
    leaves the order out.
    """

    heads: PositiveInt = 4
    positions: Literal["sinusoidal", "temporal", "learned", "none"] = "sinusoidal"
    learned_length: PositiveInt = 64

    def check(self, modalities: Sequence[str], width: int) -> None:
        """See that the fusion can be built.

        Args:
            modalities: the model's.
            width: D.

        Raises:
            ValueError: when the heads do not divide the width, or a setting names a modality the model lacks.
        """
        if width % self.heads:
            raise ValueError(f"width {width} must be a multiple of fusion.heads {self.heads}")
        self._check_names(modalities)

    def _check_names(self, modalities: Sequence[str]) -> None:
        """Raise ValueError when a setting names a modality that is not among ``modalities``; most name none."""


class EarlyConfig(FusionSettings):
    """All tokens in one transformer."""

    kind: Literal["early"] = "early"
    depth: PositiveInt = 2


class LateConfig(FusionSettings):
    """A transformer a modality; only their embeddings meet, as ``combine`` says.

    ``pooling``: how a modality's tokens become its embedding, by their ``mean`` or by learned ``attention``, which
    finds a short event in a long window.
    """

    kind: Literal["late"] = "late"
    temporal_depth: NonNegativeInt = 1
    pooling: Pooling = "mean"
    combine: Literal["mean", "concat", "gating"] = "concat"


class CrossAttentionConfig(FusionSettings):
    """Cross-modal attention in every direction over the tokens of a window; ``pooling`` as in :class:`LateConfig`."""

    kind: Literal["cross_attention"] = "cross_attention"
    temporal_depth: NonNegativeInt = 1
    cross_depth: PositiveInt = 1
    pooling: Pooling = "mean"


class HierarchicalConfig(FusionSettings):
    """Two modalities first, then the third, and so on in ``order``; empty is the model's order."""

    kind: Literal["hierarchical"] = "hierarchical"
    order: tuple[str, ...] = ()
    temporal_depth: PositiveInt = 1
    depth: PositiveInt = 1

    def _check_names(self, modalities: Sequence[str]) -> None:
        if self.order and sorted(self.order) != sorted(modalities):
            raise ValueError(
                f"fusion.order is {', '.join(self.order)}: it must name each modality once ({', '.join(modalities)})"
            )


class MixtureOfTransformersConfig(FusionSettings):
    """Weights of each modality's own, one self-attention over all tokens.

    With a ``block_size`` the attention is block-sparse: a block of tokens attends to itself, to ``neighbours`` blocks
    on either side and to the first block, which attends to all.
    """

    kind: Literal["mixture_of_transformers"] = "mixture_of_transformers"
    depth: PositiveInt = 2
    block_size: PositiveInt | None = None
    neighbours: NonNegativeInt = 1


class BottleneckConfig(FusionSettings):
    """A transformer a modality; from layer ``bottleneck_layer`` (0 is the first) on they share bottleneck tokens."""

    kind: Literal["bottleneck"] = "bottleneck"
    depth: PositiveInt = 3
    bottleneck_layer: NonNegativeInt = 1
    num_bottlenecks: PositiveInt = 4

    @model_validator(mode="after")
    def _exchanges(self) -> Self:
        if self.bottleneck_layer > self.depth - 2:
            raise ValueError(
                f"bottleneck_layer {self.bottleneck_layer} must be at most depth - 2 = {self.depth - 2}: "
                "what the tokens gather in one layer is read in the next"
            )
        return self


class PerceiverConfig(FusionSettings):
    """A fixed number of latents read all tokens once, then pass a transformer of ``depth``."""

    kind: Literal["perceiver"] = "perceiver"
    num_latents: PositiveInt = 16
    depth: PositiveInt = 2


class GatedCrossAttentionConfig(FusionSettings):
    """The ``main`` modality (by default the model's first) attends to the others, through gates that start shut."""

    kind: Literal["gated_cross_attention"] = "gated_cross_attention"
    main: str | None = None
    temporal_depth: PositiveInt = 1
    depth: PositiveInt = 2

    def _check_names(self, modalities: Sequence[str]) -> None:
        if self.main is not None and self.main not in modalities:
            raise ValueError(f"fusion.main is {self.main}: it must be one of {', '.join(modalities)}")


def _kind(values: Any) -> str:
    """The tag of a fusion's settings; checkpoints from before there was a choice have none."""
    if isinstance(values, FusionSettings):
        return str(getattr(values, "kind", ""))
    return str(values.get("kind", "cross_attention")) if isinstance(values, Mapping) else "cross_attention"


FusionConfig = Annotated[
    Annotated[EarlyConfig, Tag("early")]
    | Annotated[LateConfig, Tag("late")]
    | Annotated[CrossAttentionConfig, Tag("cross_attention")]
    | Annotated[HierarchicalConfig, Tag("hierarchical")]
    | Annotated[MixtureOfTransformersConfig, Tag("mixture_of_transformers")]
    | Annotated[BottleneckConfig, Tag("bottleneck")]
    | Annotated[PerceiverConfig, Tag("perceiver")]
    | Annotated[GatedCrossAttentionConfig, Tag("gated_cross_attention")],
    Discriminator(_kind),
]
