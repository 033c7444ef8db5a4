from __future__ import annotations

import pytest
import torch
from torch import Tensor

from models.fusion.base import Fusion
from models.fusion.mixture_of_transformers import MixtureLayer, MixtureOfTransformersFusion
from models.fusion_config import MixtureOfTransformersConfig
from tests.models.fusion.cases import CASES, MODALITIES, TOKENS_PER_HOP, build, num_parameters, windows
from tests.models.fusion.reference import (
    Parts,
    assert_equals_reference,
    attend,
    divide,
    feed_forward,
    linear,
    norm,
    side_by_side,
)


@torch.no_grad()
def slow_mixture(fusion: Fusion, parts: Parts) -> tuple[Tensor, Parts]:
    assert isinstance(fusion, MixtureOfTransformersFusion)
    for layer in fusion.layers:
        assert isinstance(layer, MixtureLayer)
        projected = {
            name: linear(layer.projections[name], norm(layer.attention_norms[name], parts[name])) for name in parts
        }
        query, key, value = torch.cat([projected[name] for name in MODALITIES]).chunk(3, dim=-1)
        allowed = torch.ones(query.shape[0], query.shape[0], dtype=torch.bool)
        attended = divide(attend(query, key, value, layer.heads, allowed), parts, MODALITIES)
        for name in MODALITIES:
            updated = parts[name] + linear(layer.outputs[name], attended[name])
            parts[name] = updated + feed_forward(
                layer.feed_forwards[name], norm(layer.feed_forward_norms[name], updated)
            )
    return side_by_side(fusion.readout.norms, fusion.readout.absent, parts)


def test_it_equals_the_slow_reference() -> None:
    assert_equals_reference(CASES["mixture of transformers"], slow_mixture)


def test_blocks_that_hold_everything_equal_dense_attention() -> None:
    assert_equals_reference(MixtureOfTransformersConfig(heads=2, block_size=24), slow_mixture)
    assert_equals_reference(MixtureOfTransformersConfig(heads=2, block_size=5, neighbours=4), slow_mixture)


def test_literal_parameter_count() -> None:
    layer = 12 * 64 + 13 * 8
    expected = 2 * 3 * layer + 3 * 8 + 3 * (2 * 8 + 8)
    assert num_parameters(MixtureOfTransformersConfig(heads=2, depth=2)) == expected == 5328


def test_modalities_share_no_weight_but_the_attention() -> None:
    tokens, masks = windows(1)
    fusion = build(CASES["mixture of transformers"])
    names = [name for name, _ in fusion.named_parameters()]
    assert all(sum(f".{modality}" in name for modality in MODALITIES) == 1 for name in names)
    masks["text"][:] = False
    masks["audio"][:] = False
    fusion(tokens, masks).embeddings["video"].sum().backward()
    used = {name for name, weight in fusion.named_parameters() if weight.grad is not None and weight.grad.any()}
    assert used
    assert all("video" in name for name in used)


def test_local_blocks_hold_one_time_of_all_modalities() -> None:
    """Block-sparse, one layer, no neighbours: a hop hears the other modalities in its own and the first block."""
    per_hop = sum(TOKENS_PER_HOP.values())
    fusion = build(MixtureOfTransformersConfig(heads=2, depth=1, block_size=per_hop, neighbours=0))
    tokens, masks = windows(1)
    masks["video"][:, :3] = False  # the embedding of the video is its last hop
    before = fusion(tokens, masks).embeddings["video"]
    for hop, heard in enumerate((True, False, False, True)):
        changed = {name: tensor.clone() for name, tensor in tokens.items()}
        changed["audio"][:, hop] += torch.randn(3, 8, dtype=torch.float64)
        change = (fusion(changed, masks).embeddings["video"] - before).abs().max()
        assert change > 1e-4 if heard else change == 0, hop


@pytest.mark.parametrize("case", ["mixture of transformers, blocks", "mixture of transformers, no neighbours"])
def test_blocks_are_the_same_in_training_and_in_evaluation_and_at_each_call(case: str) -> None:
    tokens, masks = windows(2, kept=0.7)
    fusion = build(CASES[case])
    outputs = [fusion.eval()(tokens, masks).fused, fusion.train()(tokens, masks).fused]
    outputs.append(fusion(tokens, masks).fused)
    assert torch.equal(outputs[0], outputs[1])
    assert torch.equal(outputs[0], outputs[2])
