"""Build the fusion that a configuration names."""

from __future__ import annotations

from collections.abc import Sequence

from models.fusion.base import Fusion
from models.fusion.cross_attention import CrossModalFusion
from models.fusion_config import CrossAttentionConfig, FusionConfig

FUSIONS = {CrossAttentionConfig: CrossModalFusion}


def build_fusion(config: FusionConfig, modalities: Sequence[str], *, width: int, dropout: float) -> Fusion:
    """Build a fusion with random weights.

    Args:
        config: which one, and its settings.
        modalities: the names, in the order of the model.
        width: D.
        dropout: probability in the feed-forwards.
    """
    return FUSIONS[type(config)](modalities, config, width=width, dropout=dropout)
