from __future__ import annotations

import pytest
import torch
from torch import Tensor

from models.fusion.base import Fusion
from models.fusion.build import build_fusion
from models.fusion.gated_cross_attention import GatedCrossAttentionFusion, GatedLayer
from models.fusion_config import GatedCrossAttentionConfig
from tests.models.fusion.cases import CASES, MODALITIES, num_parameters, windows
from tests.models.fusion.reference import (
    Parts,
    assert_equals_reference,
    attention,
    block,
    feed_forward,
    mean,
    norm,
    transformer,
)


@torch.no_grad()
def slow_gated(fusion: Fusion, parts: Parts) -> tuple[Tensor, Parts]:
    assert isinstance(fusion, GatedCrossAttentionFusion)
    main_absent = parts[fusion.main].shape[0] == 0
    read = {
        name: norm(fusion.other_norms[name], transformer(fusion.temporal[name], parts[name])) for name in fusion.others
    }
    keys = torch.cat(list(read.values()))
    stream = torch.cat((fusion.summary[None], parts[fusion.main]))
    for gated, layer in zip(fusion.gated, fusion.stream.blocks, strict=True):
        assert isinstance(gated, GatedLayer)
        gate = 1.0 if main_absent else gated.attention_gate.tanh()
        stream = stream + gate * attention(gated.attention, norm(gated.attention_norm, stream), keys)
        gate = 1.0 if main_absent else gated.feed_forward_gate.tanh()
        stream = stream + gate * feed_forward(gated.feed_forward, norm(gated.feed_forward_norm, stream))
        stream = block(layer, stream)
    read[fusion.main] = stream[1:]
    return norm(fusion.output_norm, mean(stream)), {name: mean(read[name]) for name in MODALITIES}


@pytest.mark.parametrize("case", ["gated cross-attention", "gated cross-attention to text"])
def test_it_equals_the_slow_reference(case: str) -> None:
    assert_equals_reference(CASES[case], slow_gated)


def test_literal_parameter_count() -> None:
    layer = 12 * 64 + 13 * 8
    expected = (2 + 2 * 1 + 2) * layer + 2 * 2 + 2 * 2 * 8 + 2 * 8 + 8 + 3 * 8
    assert num_parameters(GatedCrossAttentionConfig(heads=2, depth=2)) == expected == 5316


def untrained() -> GatedCrossAttentionFusion:
    torch.manual_seed(0)
    fusion = build_fusion(GatedCrossAttentionConfig(heads=2), MODALITIES, width=8, dropout=0.0)
    assert isinstance(fusion, GatedCrossAttentionFusion)
    return fusion.double()


def test_untrained_the_others_do_not_disturb_the_main_modality_and_the_gates_learn() -> None:
    tokens, masks = windows(2)
    fusion = untrained()
    output = fusion(tokens, masks).fused
    alone = {name: mask & (name == "video") for name, mask in masks.items()}
    assert torch.equal(output, fusion(tokens, alone).fused)
    output.square().sum().backward()
    gates = [weight.grad for name, weight in fusion.named_parameters() if name.endswith("_gate")]
    assert len(gates) == 4
    assert all(gate is not None and gate != 0 for gate in gates)


def test_without_its_main_modality_it_reads_the_others_from_the_start() -> None:
    tokens, masks = windows(2)
    masks["video"][0] = False
    fusion = untrained()
    before = fusion(tokens, masks).fused
    tokens["audio"] = tokens["audio"] + torch.randn_like(tokens["audio"])
    change = (fusion(tokens, masks).fused - before).abs().amax(dim=1)
    assert change[0] > 1e-2
    assert change[1] == 0


def test_the_main_modality_shares_its_attention_out_among_the_others() -> None:
    fusion = build_fusion(CASES["gated cross-attention"], MODALITIES, width=8, dropout=0.0).eval()
    tokens, masks = windows(2)
    tokens = {name: part.float() for name, part in tokens.items()}
    masks["audio"][1] = False
    found = fusion.attend(tokens, masks)
    assert set(found) == {("video", "audio"), ("video", "text")}
    total = found["video", "audio"].sum(dim=-1) + found["video", "text"].sum(dim=-1)
    torch.testing.assert_close(total, torch.ones_like(total))
    assert not found["video", "audio"][1].any()
    alone = build_fusion(CASES["gated cross-attention"], ("video",), width=8, dropout=0.0).eval()
    assert alone.attend(tokens, masks) == {}
