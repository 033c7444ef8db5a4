"""Build the fusion that a configuration names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from models.fusion.base import Fusion
from models.fusion.bottleneck import BottleneckFusion
from models.fusion.cross_attention import CrossModalFusion
from models.fusion.early import EarlyFusion
from models.fusion.gated_cross_attention import GatedCrossAttentionFusion
from models.fusion.hierarchical import HierarchicalFusion
from models.fusion.late import LateFusion
from models.fusion.mixture_of_transformers import MixtureOfTransformersFusion
from models.fusion.perceiver import PerceiverFusion
from models.fusion_config import FusionConfig

FUSIONS: Mapping[str, Callable[..., Fusion]] = {
    "early": EarlyFusion,
    "late": LateFusion,
    "cross_attention": CrossModalFusion,
    "hierarchical": HierarchicalFusion,
    "mixture_of_transformers": MixtureOfTransformersFusion,
    "bottleneck": BottleneckFusion,
    "perceiver": PerceiverFusion,
    "gated_cross_attention": GatedCrossAttentionFusion,
}


def build_fusion(config: FusionConfig, modalities: Sequence[str], *, width: int, dropout: float) -> Fusion:
    """Build a fusion with random weights.

    Args:
        config: which one, and its settings.
        modalities: the names, in the order of the model.
        width: D.
        dropout: probability in the feed-forwards.

    Raises:
        ValueError: when the settings do not fit the modalities or the width.
    """
    config.check(modalities, width)
    return FUSIONS[config.kind](modalities, config, width=width, dropout=dropout)
