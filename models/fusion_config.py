"""The configuration of each fusion; ``kind`` says which."""

from __future__ import annotations

from typing import Literal

from models.settings import PositiveInt, Settings


class FusionSettings(Settings):
    """What every fusion has.

    ``positions``: ``sinusoidal`` counts a modality's tokens; ``temporal`` gives tokens of one moment the same position
    whatever their modality; ``learned`` is a table a modality of ``learned_length`` rows, stretched beyond it; ``none``
    leaves the order out.
    """

    heads: PositiveInt = 4
    positions: Literal["sinusoidal", "temporal", "learned", "none"] = "sinusoidal"
    learned_length: PositiveInt = 64


class CrossAttentionConfig(FusionSettings):
    """Cross-modal attention in every direction over the tokens of a window."""

    kind: Literal["cross_attention"] = "cross_attention"
    temporal_depth: PositiveInt = 1
    cross_depth: PositiveInt = 1


FusionConfig = CrossAttentionConfig
