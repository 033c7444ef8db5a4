"""A configuration of each fusion and of each of its options, and seeded windows to fuse."""

from __future__ import annotations

import torch
from torch import Tensor

from models.fusion.base import Fusion
from models.fusion.build import build_fusion
from models.fusion_config import (
    BottleneckConfig,
    CrossAttentionConfig,
    EarlyConfig,
    FusionConfig,
    GatedCrossAttentionConfig,
    HierarchicalConfig,
    LateConfig,
    MixtureOfTransformersConfig,
    PerceiverConfig,
)

MODALITIES = ("video", "audio", "text")
HOPS = 4
TOKENS_PER_HOP = {"video": 2, "audio": 3, "text": 1}
WIDTH = 8

CASES: dict[str, FusionConfig] = {
    "early": EarlyConfig(heads=2),
    "late mean": LateConfig(heads=2, combine="mean"),
    "late concat": LateConfig(heads=2, combine="concat"),
    "late gating": LateConfig(heads=2, combine="gating"),
    "cross attention": CrossAttentionConfig(heads=2, cross_depth=2),
    "late, attention pooling": LateConfig(heads=2, temporal_depth=0, pooling="attention"),
    "cross attention, attention pooling": CrossAttentionConfig(heads=2, temporal_depth=0, pooling="attention"),
    "hierarchical": HierarchicalConfig(heads=2),
    "hierarchical in an order": HierarchicalConfig(heads=2, order=("text", "audio", "video"), depth=2),
    "mixture of transformers": MixtureOfTransformersConfig(heads=2),
    "mixture of transformers, blocks": MixtureOfTransformersConfig(heads=2, block_size=4),
    "mixture of transformers, no neighbours": MixtureOfTransformersConfig(heads=2, block_size=5, neighbours=0),
    "bottleneck": BottleneckConfig(heads=2, num_bottlenecks=2),
    "perceiver": PerceiverConfig(heads=2, num_latents=5),
    "gated cross-attention": GatedCrossAttentionConfig(heads=2),
    "gated cross-attention to text": GatedCrossAttentionConfig(heads=2, main="text"),
    "learned positions": EarlyConfig(heads=2, positions="learned"),
    "learned positions, stretched": CrossAttentionConfig(heads=2, positions="learned", learned_length=3),
    "temporal positions": MixtureOfTransformersConfig(heads=2, positions="temporal"),
    "no positions": EarlyConfig(heads=2, positions="none"),
}

Windows = tuple[dict[str, Tensor], dict[str, Tensor]]


def build(config: FusionConfig, *, seed: int = 0, modalities: tuple[str, ...] = MODALITIES) -> Fusion:
    """A seeded float64 fusion in evaluation mode, whose gates, norms and biases are not at their start."""
    torch.manual_seed(seed)
    fusion = build_fusion(config, modalities, width=WIDTH, dropout=0.0).double().eval()
    with torch.no_grad():
        for parameter in fusion.parameters():
            if parameter.dim() < 2:
                parameter.add_(torch.randn_like(parameter) * 0.3)
    return fusion


def windows(batch: int, *, seed: int = 1, hops: int = HOPS, kept: float = 1.0, by_token: bool = False) -> Windows:
    """Tokens and masks; each hop, or each token of it, is kept with probability ``kept``."""
    generator = torch.Generator().manual_seed(seed)
    tokens, masks = {}, {}
    for name, per_hop in TOKENS_PER_HOP.items():
        tokens[name] = torch.randn(batch, hops, per_hop, WIDTH, generator=generator, dtype=torch.float64)
        shape = (batch, hops, per_hop) if by_token else (batch, hops)
        masks[name] = torch.rand(shape, generator=generator) < kept
    return tokens, masks


def overwrite(tokens: dict[str, Tensor], masks: dict[str, Tensor], value: float) -> dict[str, Tensor]:
    """Put ``value`` where the masks are False."""
    result = {}
    for name, tensor in tokens.items():
        mask = masks[name] if masks[name].dim() == 3 else masks[name][..., None]
        result[name] = torch.where(mask[..., None], tensor, value)
    return result


def num_parameters(config: FusionConfig) -> int:
    """Parameters of the fusion of ``config``."""
    return sum(parameter.numel() for parameter in build(config).parameters())
