"""Encoders that see a whole window at once, and how what they give stands beside the tokens of hops.

Every other encoder sees a hop, and overlapping windows share its tokens. One with ``span: window`` is run for each
window anew: that costs as many times more as a window has hops.
"""

from __future__ import annotations

import torch
from torch import Tensor


def join_hops(windows: Tensor) -> Tensor:
    """Raw contents of windows ``(B, hops, T, ...)``, frames or samples, to one run ``(B, hops * T, ...)``."""
    return windows.flatten(1, 2)


def place_tokens(tokens: Tensor, window_hops: int) -> Tensor:
    """Put a window's tokens into its middle hop.

    Args:
        tokens: ``(B, S, D)``.
        window_hops: hops in a window.

    Returns:
        ``(B, window_hops, S, D)``, zeros in the other hops, which :func:`place_mask` masks.
    """
    hops = torch.arange(window_hops, device=tokens.device) == window_hops // 2
    return tokens[:, None] * hops[:, None, None].to(tokens.dtype)


def place_mask(mask: Tensor) -> Tensor:
    """Which hops have a window's tokens: ``(B, hops)`` bool, where the content is, to the same shape.

    The middle hop has them, unless no hop of the window has any content.
    """
    middle = torch.arange(mask.shape[1], device=mask.device) == mask.shape[1] // 2
    return mask.any(dim=1, keepdim=True) & middle
