"""Self-attention over all tokens, or block-sparse: local blocks and a global first one (after BigBird, 2007.14062).

The pattern is a function of the length alone: the same in training and in evaluation. The block-sparse form computes
only what the pattern keeps, so that its cost grows with the length and not with its square.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def block_pattern(length: int, block_size: int, neighbours: int) -> Tensor:
    """Who may attend to whom: ``(length, length)`` bool, queries by keys.

    A token attends to its own block, to ``neighbours`` blocks on either side and to the first block; the first block
    attends to all.
    """
    block = torch.arange(length) // block_size
    near = (block[:, None] - block[None, :]).abs() <= neighbours
    return near | (block[:, None] == 0) | (block[None, :] == 0)


def dense_attention(query: Tensor, key: Tensor, value: Tensor, kept: Tensor) -> Tensor:
    """Attend where ``kept`` says.

    Args:
        query: ``(..., Sq, d)`` float.
        key: ``(..., Sk, d)`` float.
        value: ``(..., Sk, d)`` float.
        kept: bool that broadcasts to ``(..., Sq, Sk)``.

    Returns:
        ``(..., Sq, d)`` float; zeros, never NaN, where a query keeps no key.
    """
    nothing_kept = ~kept.any(dim=-1, keepdim=True)
    attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=kept | nothing_kept)
    return attended.masked_fill(nothing_kept, 0.0)


def block_sparse_attention(
    query: Tensor, key: Tensor, value: Tensor, key_mask: Tensor, *, block_size: int, neighbours: int
) -> Tensor:
    """Attend along :func:`block_pattern`, and compute nothing else.

    Args:
        query: ``(B, heads, S, d)`` float; any S, a multiple of the block or not.
        key: as the query.
        value: as the query.
        key_mask: ``(B, S)`` bool, True = may be attended to.
        block_size: tokens in a block.
        neighbours: blocks on either side that a block attends to.

    Returns:
        ``(B, heads, S, d)`` float; zeros, never NaN, where a query keeps no key.
    """
    batch, heads, length, _ = query.shape
    if length <= (2 * neighbours + 2) * block_size:  # gathering as many blocks as there are would save nothing
        pattern = block_pattern(length, block_size, neighbours).to(key_mask.device)
        return dense_attention(query, key, value, (pattern & key_mask[:, None, :])[:, None])
    first = dense_attention(query[:, :, :block_size], key, value, key_mask[:, None, None, :])
    padding = -length % block_size
    query, key, value = (
        functional.pad(part, (0, 0, 0, padding)).unflatten(2, (-1, block_size)) for part in (query, key, value)
    )
    blocks, usable = _blocks_of_keys(query.shape[2], neighbours)
    blocks, usable = blocks.to(query.device), usable.to(query.device)
    mask = functional.pad(key_mask, (0, padding)).unflatten(1, (-1, block_size))
    kept = (mask[:, blocks] & usable[..., None]).flatten(2)  # (B, blocks - 1, keys of a block)
    # heads go with the batch and blocks take the place of heads, so that no copy is needed beside the gather
    rest = dense_attention(
        query[:, :, 1:].flatten(0, 1),
        key[:, :, blocks].flatten(3, 4).flatten(0, 1),
        value[:, :, blocks].flatten(3, 4).flatten(0, 1),
        kept[:, None, :, None, :].expand(-1, heads, -1, -1, -1).flatten(0, 1),
    )
    rest = rest.unflatten(0, (batch, heads)).flatten(2, 3)
    return torch.cat((first, rest[:, :, : length - block_size]), dim=2)


def _blocks_of_keys(num_blocks: int, neighbours: int) -> tuple[Tensor, Tensor]:
    """Which blocks the second block and each later one attend to: ``(num_blocks - 1, n)`` int64, and bool if it counts.

    The first block stands in the first place and nowhere else: a key that is gathered twice would weigh double.
    """
    own = torch.arange(1, num_blocks)[:, None]
    local = own + torch.arange(-neighbours, neighbours + 1)
    blocks = torch.cat((torch.zeros_like(own), local.clamp(0, num_blocks - 1)), dim=1)
    usable = torch.cat((torch.ones_like(own, dtype=torch.bool), (local > 0) & (local < num_blocks)), dim=1)
    return blocks, usable
