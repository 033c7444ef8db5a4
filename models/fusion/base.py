"""What the fusions share: their interface, the tokens' flattening over hops, modality tokens and positions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.fusion_config import FusionSettings, Pooling
from models.transformer import masked_mean, sinusoidal_at, sinusoidal_positions


@dataclass(frozen=True)
class FusionOutput:
    """What a fusion gives for a batch of windows."""

    fused: Tensor
    """``(B, output_width)`` float: what the head reads."""
    embeddings: dict[str, Tensor]
    """For each modality ``(B, D)`` float; where it is absent a constant (zeros, or a learned embedding of absence)."""


class Fusion(nn.Module):
    """Base of the fusions: ``fusion(tokens, masks) -> FusionOutput``.

    A subclass sets ``output_width`` and defines ``forward(tokens, masks)``:

    * tokens: for each modality ``(B, hops, S, D)`` float; S, and the hops, may differ between modalities. What stands
      where the mask is False cannot change the output, whatever it is (NaN as well).
    * masks: for each modality ``(B, hops)`` or ``(B, hops, S)`` bool, True = keep. A modality, or all of them, may be
      masked whole: the output and its gradients stay finite.

    Args:
        modalities: the names, in the order of the model.
        config: positions.
        width: D.
    """

    output_width: int
    """Width of :attr:`FusionOutput.fused`."""

    def __init__(self, modalities: Sequence[str], config: FusionSettings, *, width: int) -> None:
        super().__init__()
        self.modalities = tuple(modalities)
        self.width = width
        self.positions = config.positions
        self.modality_tokens = learned_vectors(modalities, width)
        if config.positions == "learned":
            self.position_tables = nn.ParameterDict(
                {name: nn.Parameter(torch.randn(config.learned_length, width) * 0.02) for name in modalities}
            )

    def flatten(
        self, tokens: Mapping[str, Tensor], masks: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Add positions and modality tokens, zero what is masked, flatten hops.

        Returns:
            For each modality ``(B, hops * S, D)`` float and ``(B, hops * S)`` bool.
        """
        flat: dict[str, Tensor] = {}
        flat_masks: dict[str, Tensor] = {}
        for name in self.modalities:
            batch, hops, per_hop, width = tokens[name].shape
            mask = masks[name] if masks[name].dim() == 3 else masks[name][:, :, None]
            flat_masks[name] = mask.expand(batch, hops, per_hop).reshape(batch, hops * per_hop)
            placed = tokens[name].reshape(batch, hops * per_hop, width)
            positions = self._positions(name, hops, per_hop)
            if positions is not None:
                placed = placed + positions.to(placed)
            placed = placed + self.modality_tokens[name].to(placed)
            flat[name] = placed.masked_fill(~flat_masks[name][..., None], 0.0)
        return flat, flat_masks

    def attend(
        self,
        tokens: Mapping[str, Tensor],  # noqa: ARG002 - the subclasses read them
        masks: Mapping[str, Tensor],  # noqa: ARG002
    ) -> dict[tuple[str, str], Tensor]:
        """How much each modality takes from each other one, hop by hop, for an explanation.

        Args:
            tokens: as of ``forward``.
            masks: as of ``forward``.

        Returns:
            For each pair (who attends, to whom) ``(B, hops, hops)`` float32, the mean over heads and layers. A row
            sums to 1, and to 0 where either of the two is absent. Nothing where the fusion's attention does not keep
            its modalities apart.
        """
        return {}

    def join(self, parts: Mapping[str, Tensor]) -> Tensor:
        """The modalities' flattened tokens ``(B, n, D)``, or masks ``(B, n)``, one after the other."""
        return torch.cat([parts[name] for name in self.modalities], dim=1)

    def split(self, joined: Tensor, parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Undo :meth:`join`; ``parts`` gives the lengths."""
        lengths = [parts[name].shape[1] for name in self.modalities]
        return dict(zip(self.modalities, joined.split(lengths, dim=1), strict=True))

    def _positions(self, name: str, hops: int, per_hop: int) -> Tensor | None:
        """``(hops * per_hop, D)`` float, or None where the fusion has no positions."""
        if self.positions == "none":
            return None
        if self.positions == "learned":
            return stretch_table(self.position_tables[name], hops * per_hop)
        if self.positions == "temporal":
            return sinusoidal_at(moments(hops, per_hop), self.width)
        return sinusoidal_positions(hops * per_hop, self.width)


class SideBySide(nn.Module):
    """The embeddings of modalities side by side, a learned one where a modality is absent.

    Args:
        modalities: the names, in the order of the embeddings.
        width: D.
        pooling: how a modality's tokens become one.
    """

    def __init__(self, modalities: Sequence[str], *, width: int, pooling: Pooling = "mean") -> None:
        super().__init__()
        self.modalities = tuple(modalities)
        self.pools = build_pools(modalities, width=width, pooling=pooling)
        self.norms = nn.ModuleDict({name: nn.LayerNorm(width) for name in modalities})
        self.absent = learned_vectors(modalities, width)

    def forward(self, tokens: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> FusionOutput:
        """Pool ``(B, n, D)`` tokens with ``(B, n)`` masks; ``fused`` is ``(B, num_modalities * D)``."""
        embeddings = {
            name: embed(self.pools[name](tokens[name], masks[name]), masks[name], self.norms[name], self.absent[name])
            for name in self.modalities
        }
        return FusionOutput(torch.cat([embeddings[name] for name in self.modalities], dim=-1), embeddings)


class MeanPool(nn.Module):
    """The mean of the tokens that are there."""

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Pool ``(B, n, D)`` with ``(B, n)`` bool to ``(B, D)``; zeros where a row keeps nothing."""
        return masked_mean(tokens, mask)


class AttentionPool(nn.Module):
    """The tokens weighed by a learned score (after arXiv 1512.08756): finds a short event in a long window.

    Args:
        width: D.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.score = nn.Linear(width, 1)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Pool ``(B, n, D)`` with ``(B, n)`` bool to ``(B, D)``; zeros where a row keeps nothing."""
        kept = tokens.masked_fill(~mask[..., None], 0.0)
        usable = mask | ~mask.any(dim=1, keepdim=True)  # a softmax over nothing is NaN
        weights: Tensor = self.score(kept)[..., 0].masked_fill(~usable, -torch.inf).softmax(dim=1)
        return (weights[..., None] * kept).sum(dim=1)


def build_pools(modalities: Sequence[str], *, width: int, pooling: Pooling) -> nn.ModuleDict:
    """A pool a modality, ``(tokens, mask) -> (B, D)``."""
    return nn.ModuleDict({name: AttentionPool(width) if pooling == "attention" else MeanPool() for name in modalities})


def embed(pooled: Tensor, mask: Tensor, norm: nn.Module, absent: Tensor) -> Tensor:
    """What was pooled, normed, and ``absent`` ``(D,)`` where a row of the mask ``(B, n)`` keeps none: ``(B, D)``."""
    normed: Tensor = norm(pooled)
    return torch.where(mask.any(dim=1, keepdim=True), normed, absent.to(normed))


def learned_vectors(names: Sequence[str], width: int) -> nn.ParameterDict:
    """One learned vector ``(D,)`` a name, drawn small."""
    return nn.ParameterDict({name: nn.Parameter(torch.randn(width) * 0.02) for name in names})


def weights_by_hop(weights: Tensor, query_mask: Tensor, *, hops: tuple[int, int]) -> Tensor:
    """What the tokens of a hop take from those of another: the mean over its own, the sum over the other's.

    Args:
        weights: ``(B, n, m)`` float, of the tokens of both.
        query_mask: ``(B, n)`` bool, True = keep; a hop without a token has zeros.
        hops: of the one that attends, and of the other.

    Returns:
        ``(B, hops, hops)`` float.
    """
    taken = weights.masked_fill(~query_mask[..., None], 0.0).unflatten(2, (hops[1], -1)).sum(dim=-1)
    count = query_mask.unflatten(1, (hops[0], -1)).sum(dim=2).clamp(min=1)
    found: Tensor = taken.unflatten(1, (hops[0], -1)).sum(dim=2) / count[..., None]
    return found


def moments(hops: int, per_hop: int) -> Tensor:
    """When each token stands, in hops: ``(hops * per_hop,)`` float32, the tokens of a hop spread evenly over it."""
    return torch.arange(hops * per_hop, dtype=torch.float32) / per_hop


def stretch_table(table: Tensor, length: int) -> Tensor:
    """The first ``length`` rows of a table of positions ``(P, D)``; beyond P, the table stretched linearly to length.

    Returns:
        ``(length, D)``.
    """
    if length <= table.shape[0]:
        return table[:length]
    return functional.interpolate(table.T[None], size=length, mode="linear", align_corners=True)[0].T
