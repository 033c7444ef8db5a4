from __future__ import annotations

import pytest
import torch
from torch import Tensor

from models.fusion.base import Fusion
from models.fusion.late import LateFusion
from models.fusion_config import LateConfig
from tests.models.fusion.cases import CASES, MODALITIES, WIDTH, build, num_parameters, windows
from tests.models.fusion.reference import (
    Parts,
    assert_equals_reference,
    gelu,
    linear,
    side_by_side,
    transformer,
)


@torch.no_grad()
def slow_late(fusion: Fusion, parts: Parts) -> tuple[Tensor, Parts]:
    assert isinstance(fusion, LateFusion)
    read = {name: transformer(fusion.temporal[name], parts[name]) for name in MODALITIES}
    joined, embeddings = side_by_side(fusion.readout.norms, fusion.readout.absent, read, fusion.readout.pools)
    counted = [name for name in MODALITIES if parts[name].shape[0]] or list(MODALITIES)
    if fusion.combine == "concat":
        return linear(fusion.perceptron[3], gelu(linear(fusion.perceptron[0], joined))), embeddings
    if fusion.combine == "mean":
        return torch.stack([embeddings[name] for name in counted]).mean(dim=0), embeddings
    fused = torch.zeros(WIDTH, dtype=torch.float64)
    logits = linear(fusion.gate, joined)
    for feature in range(WIDTH):
        strength = {name: logits[MODALITIES.index(name) * WIDTH + feature].exp() for name in counted}
        total = torch.stack(list(strength.values())).sum()
        for name in counted:
            fused[feature] += strength[name] / total * embeddings[name][feature]
    return fused, embeddings


@pytest.mark.parametrize("combine", ["mean", "concat", "gating"])
def test_it_equals_the_slow_reference(combine: str) -> None:
    assert_equals_reference(LateConfig.model_validate({"heads": 2, "combine": combine}), slow_late)


def test_attention_pooling_equals_the_slow_reference() -> None:
    assert_equals_reference(CASES["late, attention pooling"], slow_late)


def test_literal_parameter_counts() -> None:
    shared = 3 * (12 * 64 + 13 * 8) + 3 * 8 + 3 * (2 * 8 + 8)  # transformers, modality tokens, norms and absences
    assert num_parameters(LateConfig(heads=2, combine="mean")) == shared == 2712
    assert num_parameters(LateConfig(heads=2, combine="concat")) == shared + (24 + 1) * 8 + (8 + 1) * 8 == 2984
    assert num_parameters(LateConfig(heads=2, combine="gating")) == shared + (24 + 1) * 24 == 3312


def test_modalities_meet_only_after_their_embeddings() -> None:
    tokens, masks = windows(1)
    fusion = build(LateConfig(heads=2))
    before = fusion(tokens, masks)
    tokens["audio"] = tokens["audio"] + torch.randn_like(tokens["audio"])
    after = fusion(tokens, masks)
    assert torch.equal(before.embeddings["video"], after.embeddings["video"])
    assert (before.fused - after.fused).abs().max() > 1e-4


@pytest.mark.parametrize("combine", ["mean", "gating"])
def test_with_one_modality_left_the_window_is_that_modality(combine: str) -> None:
    tokens, masks = windows(2)
    masks["video"][:] = False
    masks["text"][:] = False
    output = build(LateConfig.model_validate({"heads": 2, "combine": combine}))(tokens, masks)
    torch.testing.assert_close(output.fused, output.embeddings["audio"], atol=1e-12, rtol=0)
