"""The configuration of each fusion; ``kind`` says which."""

from __future__ import annotations

from typing import Literal

from models.settings import PositiveInt, Settings


class CrossAttentionConfig(Settings):
    """Cross-modal attention in every direction over the tokens of a window."""

    kind: Literal["cross_attention"] = "cross_attention"
    heads: PositiveInt = 4
    temporal_depth: PositiveInt = 1
    cross_depth: PositiveInt = 1


FusionConfig = CrossAttentionConfig
