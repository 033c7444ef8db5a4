"""What every objective is given and gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from models.config import Modality
from models.transformer import masked_mean


class Fused(Protocol):
    """What an objective reads of a fusion's output."""

    @property
    def fused(self) -> Tensor:
        """``(B, output_width)`` float: the windows' embeddings."""
        ...


@dataclass(frozen=True)
class ObjectiveInput:
    """All windows of all runs of a batch, encoded: B windows of ``hops`` hops."""

    tokens: Mapping[Modality, Tensor]
    """For each modality ``(B, hops, S, D)`` float."""
    masks: Mapping[Modality, Tensor]
    """For each modality ``(B, hops)`` bool, True where the hop has it."""
    clips: Tensor
    """``(B,)`` int64: which clip a window is of, by a number that is the same in every process. The windows of a clip
    overlap or resemble each other: they are no negatives of each other."""
    fuse: Callable[[Mapping[Modality, Tensor], Mapping[Modality, Tensor]], Fused]
    """The model's fusion."""
    embed: Callable[[Modality, Tensor], Tensor] | None = None
    """The model's projection ``(B, D)`` to ``(B, E)`` of norm 1 in the space of its towers; None where it has none."""

    def __post_init__(self) -> None:
        sizes = {tuple(self.tokens[name].shape[:2]) for name in self.tokens}
        sizes |= {tuple(mask.shape) for mask in self.masks.values()}
        if set(self.tokens) != set(self.masks) or len(sizes) != 1 or self.clips.shape != (next(iter(sizes))[0],):
            raise ValueError(f"tokens, masks and clips must be of the same windows and hops, got {sorted(sizes)}")

    def present(self, modality: Modality) -> Tensor:
        """``(B,)`` bool: which windows have a modality on at least one hop."""
        return self.masks[modality].any(dim=1)

    def pooled(self, modality: Modality) -> Tensor:
        """``(B, D)`` float: the mean over a modality's tokens of the hops that have it; zeros where none does."""
        tokens = self.tokens[modality]
        mask = self.masks[modality][..., None].expand(tokens.shape[:3])
        return masked_mean(tokens.flatten(1, 2), mask.flatten(1, 2))


class Objective(nn.Module):
    """A loss over encoded windows, with what it learns for itself.

    Args:
        weight: what the loss is multiplied by before it is added to the main one.
    """

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, inputs: ObjectiveInput) -> Tensor:
        """The unweighted loss: a scalar, 0 with finite gradients where no window counts."""
        raise NotImplementedError


def draw_among(allowed: Tensor) -> Tensor:
    """Draw one of the allowed choices in each row, each with the same chance.

    Args:
        allowed: ``(B, M)`` bool.

    Returns:
        ``(B, M)`` bool, at most one True a row; none where none is allowed.
    """
    draws = torch.rand(allowed.shape, device=allowed.device).masked_fill(~allowed, -1.0)
    chosen = torch.zeros_like(allowed).scatter_(1, draws.argmax(dim=1, keepdim=True), value=True)
    return chosen & allowed


def binary_head(input_width: int, hidden: int) -> nn.Sequential:
    """From a fused embedding ``(B, input_width)`` to one logit ``(B, 1)``."""
    return nn.Sequential(nn.LayerNorm(input_width), nn.Linear(input_width, hidden), nn.GELU(), nn.Linear(hidden, 1))


def full_precision(values: Tensor) -> Tensor:
    """At least float32: losses are no matter for half precision."""
    return values if values.dtype == torch.float64 else values.float()


def mean_where(values: Tensor, counted: Tensor) -> Tensor:
    """The mean of ``values`` ``(B,)`` where ``counted`` ``(B,)`` is True; 0, with gradients of 0, where none is."""
    return values.masked_fill(~counted, 0.0).sum() / counted.sum().clamp(min=1)
