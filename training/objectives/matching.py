"""Does this sound belong to this video (after Look, Listen and Learn, arXiv 1705.08168)?"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from models.config import Modality
from models.settings import SettingsError
from training.objectives.base import Objective, ObjectiveInput, binary_head, draw_among, full_precision, mean_where
from training.objectives.config import MatchingConfig


class Matching(Objective):
    """In half of the windows one modality is that of another clip's window, and a head on the fused embedding tells.

    A window counts where it has two modalities and another clip's window has the drawn one with something else in it.
    Both its versions, the true and the mixed one, see the hops that both windows have, so that a gap in the mask gives
    nothing away.

    Args:
        config: the recipe's settings.
        modalities: the model's.
        fused_width: of the fused embedding.

    Raises:
        SettingsError: when the model has but one modality, or not those that are to be exchanged.
    """

    def __init__(self, config: MatchingConfig, modalities: Sequence[Modality], *, fused_width: int) -> None:
        super().__init__(config.weight)
        self.modalities = tuple(modalities)
        self.exchanged = tuple(config.modalities or modalities)
        unknown = set(self.exchanged) - set(modalities)
        if unknown or len(modalities) < 2:
            raise SettingsError(
                f"objectives.matching needs two modalities and exchanges some of the model's ({', '.join(modalities)})"
            )
        self.head = binary_head(fused_width, config.hidden)

    def forward(self, inputs: ObjectiveInput) -> Tensor:
        """Binary cross-entropy over the windows that count."""
        partners = {name: draw_partners(inputs.present(name), inputs.clips) for name in self.exchanged}
        usable = torch.stack([_usable(inputs, name, partners[name]) for name in self.exchanged], dim=1)
        several = torch.stack([inputs.present(name) for name in self.modalities]).sum(dim=0) >= 2
        chosen = draw_among(usable & several[:, None])
        mixed = torch.rand(len(inputs.clips), device=inputs.clips.device) < 0.5
        logits = self.logits(inputs, partners, chosen, mixed)
        losses = functional.binary_cross_entropy_with_logits(logits, (~mixed).to(logits), reduction="none")
        return mean_where(losses, chosen.any(dim=1))

    def logits(self, inputs: ObjectiveInput, partners: dict[Modality, Tensor], chosen: Tensor, mixed: Tensor) -> Tensor:
        """``(B,)`` float, above 0 for a match.

        Args:
            inputs: the windows.
            partners: for each exchanged modality ``(B,)`` int64, the window it may be taken from.
            chosen: ``(B, exchanged modalities)`` bool, at most one True a row.
            mixed: ``(B,)`` bool, where the partner's stands in.
        """
        tokens, masks = dict(inputs.tokens), dict(inputs.masks)
        for index, name in enumerate(self.exchanged):
            partner, here = partners[name], chosen[:, index]
            taken = (here & mixed)[:, None, None, None]
            tokens[name] = torch.where(taken, tokens[name][partner], tokens[name])
            masks[name] = masks[name] & (masks[name][partner] | ~here[:, None])
        return full_precision(self.head(inputs.fuse(tokens, masks).fused)).squeeze(-1)


def draw_partners(present: Tensor, clips: Tensor) -> Tensor:
    """For each window one of another clip that has the modality, each with the same chance.

    Args:
        present: ``(B,)`` bool.
        clips: ``(B,)`` int64.

    Returns:
        ``(B,)`` int64; a window's own index where there is none.
    """
    index = torch.arange(len(clips), device=clips.device)
    pool = index[present][clips[present].argsort(stable=True)]  # clip after clip: one's own is a stretch of it
    pool_clips = clips[pool]
    first = torch.searchsorted(pool_clips, clips)
    stop = torch.searchsorted(pool_clips, clips, right=True)
    num_others = len(pool) - (stop - first)
    steps = (torch.rand(len(clips), device=clips.device, dtype=torch.float64) * num_others).long()
    if len(pool) == 0:
        return index
    return torch.where(num_others > 0, pool[(stop + steps) % len(pool)], index)


def _usable(inputs: ObjectiveInput, name: Modality, partner: Tensor) -> Tensor:
    """Which windows' modality would be another one with the partner's: ``(B,)`` bool."""
    tokens, mask = inputs.tokens[name].detach(), inputs.masks[name]
    shared = mask & mask[partner]
    differs = (tokens != tokens[partner]).flatten(2).any(dim=2) & shared
    return differs.any(dim=1) & (inputs.clips != inputs.clips[partner])
