from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.config import Modality
from models.fusion.cross_attention import CrossModalFusion
from models.fusion_config import CrossAttentionConfig

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
