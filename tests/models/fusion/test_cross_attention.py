from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.config import Modality
from models.fusion.base import Fusion
from models.fusion.cross_attention import CrossModalFusion, CrossModalLayer
from models.fusion_config import CrossAttentionConfig
from models.transformer import Attention
from tests.models.fusion.cases import CASES, num_parameters
from tests.models.fusion.reference import (
    Parts,
    assert_equals_reference,
    attention,
    feed_forward,
    norm,
    side_by_side,
    transformer,
)

MODALITIES: tuple[Modality, ...] = ("video", "audio", "text")
HOPS = 4
TOKENS_PER_HOP = {"video": 2, "audio": 3, "text": 1}


def fusion(seed: int = 0) -> CrossModalFusion:
    torch.manual_seed(seed)
    return CrossModalFusion(MODALITIES, CrossAttentionConfig(heads=2), width=8, dropout=0.0).eval()


def windows(batch: int, seed: int = 1) -> tuple[dict[Modality, Tensor], dict[Modality, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    tokens = {name: torch.randn(batch, HOPS, TOKENS_PER_HOP[name], 8, generator=generator) for name in MODALITIES}
    masks = {name: torch.ones(batch, HOPS, dtype=torch.bool) for name in MODALITIES}
    return tokens, masks


@torch.no_grad()
def slow_cross_attention(fusion: Fusion, parts: Parts) -> tuple[Tensor, Parts]:
    assert isinstance(fusion, CrossModalFusion)
    parts = {name: transformer(fusion.temporal[name], part) for name, part in parts.items()}
    for layer in fusion.layers:
        assert isinstance(layer, CrossModalLayer)
        normed = {name: norm(layer.norms[name], part) for name, part in parts.items()}
        for target in MODALITIES:
            updated = parts[target]
            for source in MODALITIES:
                if source != target:
                    direction = layer.directions[f"{target}_from_{source}"]
                    updated = updated + attention(direction, normed[target], normed[source])
            normed_update = norm(layer.feed_forward_norms[target], updated)
            parts[target] = updated + feed_forward(layer.feed_forwards[target], normed_update)
    return side_by_side(fusion.output_norms, fusion.absent, parts, fusion.pools)


@pytest.mark.parametrize("case", ["cross attention", "cross attention, attention pooling"])
def test_it_equals_the_slow_reference(case: str) -> None:
    assert_equals_reference(CASES[case], slow_cross_attention)


def test_literal_parameter_count() -> None:
    attention_layer, feed_forward_layer = 4 * 64 + 4 * 8, 8 * 64 + 5 * 8
    cross = 6 * attention_layer + 3 * feed_forward_layer + 2 * 3 * 2 * 8
    temporal = 3 * (attention_layer + feed_forward_layer + 2 * 2 * 8)
    assert num_parameters(CrossAttentionConfig(heads=2)) == temporal + cross + 2 * 3 * 8 + 3 * 2 * 8 == 6192


def test_the_embeddings_stand_side_by_side_in_order() -> None:
    tokens, masks = windows(2)
    output = fusion()(tokens, masks)
    assert output.fused.shape == (2, 24)
    assert torch.equal(output.fused, torch.cat([output.embeddings[name] for name in MODALITIES], dim=-1))


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**31), st.lists(st.booleans(), min_size=12, max_size=12))
def test_what_is_masked_cannot_change_the_output(seed: int, kept: list[bool]) -> None:
    tokens, masks = windows(1, seed)
    for index, name in enumerate(MODALITIES):
        masks[name][0] = torch.tensor(kept[index * HOPS : (index + 1) * HOPS])
    changed = {name: torch.where(masks[name][..., None, None], tokens[name], 1e4) for name in MODALITIES}
    model = fusion()
    output = model(tokens, masks).fused
    assert torch.isfinite(output).all()
    assert torch.equal(output, model(changed, masks).fused)


@pytest.mark.parametrize("source", MODALITIES)
@pytest.mark.parametrize("target", MODALITIES)
def test_each_modality_hears_each_other(target: Modality, source: Modality) -> None:
    tokens, masks = windows(1)
    model = fusion()
    before = model(tokens, masks).embeddings[target]
    tokens[source] = tokens[source] + torch.randn_like(tokens[source])
    assert (before - model(tokens, masks).embeddings[target]).abs().max() > 1e-4


def test_an_absent_modality_gives_its_learned_embedding() -> None:
    tokens, masks = windows(2)
    masks["audio"][0] = False
    model = fusion()
    output = model(tokens, masks)
    assert torch.equal(output.embeddings["audio"][0], model.absent["audio"])
    assert not torch.equal(output.embeddings["audio"][1], model.absent["audio"])


def test_the_order_of_hops_matters() -> None:
    tokens, masks = windows(1)
    model = fusion()
    flipped = {name: tensor.flip(1) for name, tensor in tokens.items()}
    assert (model(tokens, masks).fused - model(flipped, masks).fused).abs().max() > 1e-3


def test_windows_of_a_batch_do_not_mix() -> None:
    tokens, masks = windows(3)
    model = fusion()
    alone = model({n: t[1:2] for n, t in tokens.items()}, {n: m[1:2] for n, m in masks.items()}).fused
    torch.testing.assert_close(model(tokens, masks).fused[1:2], alone, atol=1e-6, rtol=1e-6)


def test_layers_do_not_start_alike() -> None:
    weights = dict(fusion().named_parameters())
    first, second = (weights[f"layers.0.directions.video_from_{name}.query.weight"] for name in ("audio", "text"))
    assert not torch.equal(first, second)


def test_what_is_told_of_the_attention_is_what_the_layers_take() -> None:
    one_head = CrossModalFusion(MODALITIES, CrossAttentionConfig(heads=1), width=8, dropout=0.0).eval()
    tokens, masks = windows(2)
    masks["audio"][0, 3] = False
    layer = one_head.layers[0]
    assert isinstance(layer, CrossModalLayer)
    direction = layer.directions["video_from_audio"]
    assert isinstance(direction, Attention)
    flat, flat_masks = one_head._begin(tokens, masks)
    weights = layer.weights(flat, flat_masks)["video", "audio"]
    keys = layer.norms["audio"](flat["audio"])
    value = direction.key_value(keys).chunk(2, dim=-1)[1]
    taken = direction(layer.norms["video"](flat["video"]), keys, flat_masks["audio"])
    torch.testing.assert_close(direction.output(weights @ value), taken, rtol=0, atol=1e-6)


def test_each_hop_shares_its_attention_out_among_the_hops_that_are_there() -> None:
    tokens, masks = windows(2)
    masks["audio"][0, 3] = False  # a hop
    masks["text"][1] = False  # all of them
    found = fusion().attend(tokens, masks)
    assert set(found) == {(target, source) for target in MODALITIES for source in MODALITIES if target != source}
    assert {weights.shape for weights in found.values()} == {(2, HOPS, HOPS)}
    torch.testing.assert_close(found["video", "audio"].sum(dim=-1), torch.ones(2, HOPS))
    assert found["video", "audio"][0, :, 3].tolist() == [0.0] * HOPS
    assert found["audio", "video"][0, 3].tolist() == [0.0] * HOPS
    assert not found["video", "text"][1].any()
    assert not found["text", "video"][1].any()
