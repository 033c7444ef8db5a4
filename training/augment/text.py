"""Augmentation of text: words go missing."""

from __future__ import annotations

import torch
from torch import Tensor

from models.tokenizer import PADDING_ID
from training.augment.config import TextAugmentation
from training.augment.draws import chosen_runs


def drop_words(token_ids: Tensor, token_mask: Tensor, masks: Tensor, config: TextAugmentation) -> tuple[Tensor, Tensor]:
    """Leave tokens out, those that follow closing the gap; never all of a hop.

    The places are one draw a run, so that words that stand on several hops stay the same on all of them.

    Args:
        token_ids: ``(C, R, S)`` int64.
        token_mask: ``(C, R, S)`` bool, True = a token.
        masks: ``(C, R)`` bool; other hops stay as they are.
        config: what to do.

    Returns:
        ``token_ids`` and ``token_mask`` of the same shapes.
    """
    if not config.word_dropout:
        return token_ids, token_mask
    num_runs, _, num_places = token_ids.shape
    chosen = chosen_runs(num_runs, config.probability, token_ids.device)
    draws = torch.rand(num_runs, 1, num_places, device=token_ids.device).expand(token_ids.shape)
    last_to_go = draws.masked_fill(~token_mask, -1.0).argmax(dim=2, keepdim=True)
    kept = (draws >= config.word_dropout).scatter(2, last_to_go, value=True) & token_mask
    order = (~kept).to(torch.uint8).argsort(dim=2, stable=True)
    new_mask = kept.gather(2, order)
    new_ids = token_ids.gather(2, order).masked_fill(~new_mask, PADDING_ID)
    changed = (masks & chosen[:, None])[..., None]
    return torch.where(changed, new_ids, token_ids), torch.where(changed, new_mask, token_mask)
