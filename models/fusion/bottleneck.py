"""Multimodal bottleneck transformer (MBT, arXiv 2107.00135): modalities meet in a few shared tokens only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from models.fusion.base import Fusion, FusionOutput, SideBySide
from models.fusion_config import BottleneckConfig
from models.transformer import TransformerBlock


class BottleneckLayer(nn.Module):
    """A transformer block a modality, alone or with the bottleneck tokens beside its own."""

    def __init__(self, modalities: Sequence[str], *, width: int, heads: int, dropout: float, exchanges: bool) -> None:
        super().__init__()
        self.modalities = tuple(modalities)
        self.exchanges = exchanges
        self.blocks = nn.ModuleDict({name: TransformerBlock(width, heads, dropout) for name in modalities})

    def forward(
        self, tokens: Mapping[str, Tensor], masks: Mapping[str, Tensor], shared: Tensor
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Transform each modality's ``(B, n, D)``, and the bottleneck tokens ``(B, Z, D)`` where it exchanges."""
        if not self.exchanges:
            return {name: self.blocks[name](tokens[name], masks[name]) for name in self.modalities}, shared
        num_shared = shared.shape[1]
        always = torch.ones(shared.shape[:2], dtype=torch.bool, device=shared.device)
        total, count = torch.zeros_like(shared), torch.zeros_like(shared[:, :1, :1])
        result: dict[str, Tensor] = {}
        for name in self.modalities:
            mask = torch.cat((masks[name], always), dim=1)
            joined = self.blocks[name](torch.cat((tokens[name], shared), dim=1), mask)
            result[name] = joined[:, :-num_shared]
            present = masks[name].any(dim=1)[:, None, None]
            total = total + joined[:, -num_shared:].masked_fill(~present, 0.0)
            count = count + present
        return result, torch.where(count > 0, total / count.clamp(min=1), shared)


class BottleneckFusion(Fusion):
    """A transformer a modality. From a stated layer on each also reads and writes the bottleneck tokens.

    After such a layer the bottleneck tokens are the mean of what the modalities made of them (equation 9 of the
    paper), over the modalities that are there.

    Args:
        modalities: the names, in the order in which their embeddings are put side by side.
        config: depth, heads, the number of bottleneck tokens and the first layer that has them.
        width: D.
        dropout: probability in the feed-forwards.
    """

    def __init__(self, modalities: Sequence[str], config: BottleneckConfig, *, width: int, dropout: float) -> None:
        super().__init__(modalities, config, width=width)
        self.output_width = width * len(self.modalities)
        self.bottlenecks = nn.Parameter(torch.randn(config.num_bottlenecks, width) * 0.02)
        self.layers = nn.ModuleList(
            BottleneckLayer(
                modalities,
                width=width,
                heads=config.heads,
                dropout=dropout,
                exchanges=index >= config.bottleneck_layer,
            )
            for index in range(config.depth)
        )
        self.readout = SideBySide(modalities, width=width)

    def forward(self, tokens: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> FusionOutput:
        """Fuse windows: ``fused`` is ``(B, num_modalities * D)``; arguments as in :class:`Fusion`."""
        flat, flat_masks = self.flatten(tokens, masks)
        batch = flat[self.modalities[0]].shape[0]
        shared = self.bottlenecks.repeat(batch, 1, 1)  # a view of a parameter breaks the counting of FLOPs
        for layer in self.layers:
            flat, shared = layer(flat, flat_masks, shared)
        output: FusionOutput = self.readout(flat, flat_masks)
        return output
