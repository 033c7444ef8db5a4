"""Slow float64 references: one window at a time, and what is masked is left out instead of masked.

Nothing here calls a function of the model; only its weights are read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from models.fusion.base import AttentionPool, Fusion
from models.fusion_config import FusionConfig
from models.transformer import Attention, FeedForward, Transformer, TransformerBlock
from tests.models.fusion.cases import build, windows

Parts = dict[str, Tensor]
"""For each modality the tokens ``(n, D)`` of one window that are there; n may be 0."""
Slow = Callable[[Fusion, Parts], tuple[Tensor, Parts]]
"""A window's fused embedding ``(output_width,)`` and its modalities' embeddings ``(D,)``."""


def assert_equals_reference(config: FusionConfig, slow: Slow) -> None:
    """Compare a fusion with its reference on windows of any gaps; two of them have nothing of something."""
    for seed in range(3):
        fusion = build(config, seed=seed)
        tokens, masks = windows(5, seed=seed, kept=0.6, by_token=seed == 2)
        masks[fusion.modalities[0]][1] = False
        for mask in masks.values():
            mask[2] = False
        output = fusion(tokens, masks)
        for index in range(5):
            parts = {name: kept_tokens(fusion, name, tokens[name][index], masks[name][index]) for name in tokens}
            fused, embeddings = slow(fusion, parts)
            torch.testing.assert_close(output.fused[index], fused, atol=2e-6, rtol=0)
            for name, embedding in embeddings.items():
                torch.testing.assert_close(output.embeddings[name][index], embedding, atol=2e-6, rtol=0)


def kept_tokens(fusion: Fusion, name: str, tokens: Tensor, mask: Tensor) -> Tensor:
    """The tokens of ``(hops, S, D)`` that ``(hops,)`` or ``(hops, S)`` keeps, with sinusoidal positions."""
    return torch.stack([*_kept(fusion, name, tokens, mask), torch.zeros(tokens.shape[-1]).double()])[:-1]


def _kept(fusion: Fusion, name: str, tokens: Tensor, mask: Tensor) -> list[Tensor]:
    hops, per_hop, width = tokens.shape
    result = []
    for hop in range(hops):
        for place in range(per_hop):
            if bool(mask[hop] if mask.dim() == 1 else mask[hop, place]):
                position = sinusoid(hop * per_hop + place, width)
                result.append(tokens[hop, place] + position + fusion.modality_tokens[name])
    return result


def sinusoid(moment: float, width: int) -> Tensor:
    """One position of arXiv 1706.03762, section 3.5."""
    values = []
    for index in range(width):
        angle = moment / 10_000 ** (2 * (index // 2) / width)
        values.append(math.sin(angle) if index % 2 == 0 else math.cos(angle))
    return torch.tensor(values, dtype=torch.float64)


def linear(layer: nn.Module, tokens: Tensor) -> Tensor:
    assert isinstance(layer, nn.Linear)
    return tokens @ layer.weight.T + layer.bias


def norm(layer: nn.Module, tokens: Tensor) -> Tensor:
    assert isinstance(layer, nn.LayerNorm)
    centred = tokens - tokens.mean(-1, keepdim=True)
    variance = centred.square().mean(-1, keepdim=True)
    return centred / (variance + 1e-5).sqrt() * layer.weight + layer.bias


def gelu(tokens: Tensor) -> Tensor:
    return tokens * 0.5 * (1 + torch.erf(tokens / math.sqrt(2)))


def feed_forward(layer: nn.Module, tokens: Tensor) -> Tensor:
    assert isinstance(layer, FeedForward)
    return linear(layer[2], gelu(linear(layer[0], tokens)))


def attend(queries: Tensor, keys: Tensor, values: Tensor, heads: int, allowed: Tensor) -> Tensor:
    """Each query and head by itself: ``(n, D)`` queries, ``(m, D)`` keys and values, ``(n, m)`` bool."""
    size = queries.shape[1] // heads
    rows = []
    for index in range(queries.shape[0]):
        chosen = [place for place in range(keys.shape[0]) if allowed[index, place]]
        parts = []
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            if not chosen:
                parts.append(torch.zeros(size, dtype=queries.dtype))
                continue
            scores = keys[chosen, part] @ queries[index, part] / math.sqrt(size)
            weights = (scores - scores.max()).exp()
            parts.append(weights / weights.sum() @ values[chosen, part])
        rows.append(torch.cat(parts))
    return torch.stack(rows) if rows else torch.zeros_like(queries)


def attention(layer: nn.Module, queries: Tensor, keys: Tensor) -> Tensor:
    assert isinstance(layer, Attention)
    if keys.shape[0] == 0:
        return torch.zeros_like(queries)
    key, value = linear(layer.key_value, keys).chunk(2, dim=-1)
    everything = torch.ones(queries.shape[0], keys.shape[0], dtype=torch.bool)
    return linear(layer.output, attend(linear(layer.query, queries), key, value, layer.heads, everything))


def block(layer: nn.Module, tokens: Tensor) -> Tensor:
    assert isinstance(layer, TransformerBlock)
    normed = norm(layer.attention_norm, tokens)
    tokens = tokens + attention(layer.attention, normed, normed)
    return tokens + feed_forward(layer.feed_forward, norm(layer.feed_forward_norm, tokens))


def transformer(layer: nn.Module, tokens: Tensor) -> Tensor:
    assert isinstance(layer, Transformer)
    for one in layer.blocks:
        tokens = block(one, tokens)
    return tokens


def mean(tokens: Tensor) -> Tensor:
    """Zeros where there is nothing."""
    return tokens.sum(dim=0) / max(1, tokens.shape[0])


def side_by_side(
    layers: nn.ModuleDict, absent: nn.ParameterDict, parts: Parts, pools: nn.ModuleDict | None = None
) -> tuple[Tensor, Parts]:
    """The normed means, or what the pools weigh, or the embedding of absence."""
    embeddings = {
        name: norm(layers[name], (mean(part) if pools is None else weighed(pools[name], part))[None])[0]
        if part.shape[0]
        else absent[name]
        for name, part in parts.items()
    }
    return torch.cat(list(embeddings.values())), embeddings


def weighed(pool: nn.Module, tokens: Tensor) -> Tensor:
    """The mean of ``(n, D)`` tokens, or, with an attention pool, their sum by the shares of their scores."""
    if not isinstance(pool, AttentionPool):
        return mean(tokens)
    strengths = [linear(pool.score, token[None])[0, 0].exp() for token in tokens]
    total = torch.stack(strengths).sum()
    return torch.stack([strength / total * token for strength, token in zip(strengths, tokens, strict=True)]).sum(0)


def divide(joined: Tensor, parts: Parts, order: Sequence[str]) -> Parts:
    """Cut joined tokens into modalities again."""
    return dict(zip(order, joined.split([parts[name].shape[0] for name in order]), strict=True))
