from __future__ import annotations

import pytest
import torch
from torch import Tensor

from models.fusion.base import Fusion
from models.fusion.bottleneck import BottleneckFusion, BottleneckLayer
from models.fusion_config import BottleneckConfig
from tests.models.fusion.cases import CASES, MODALITIES, build, num_parameters, windows
from tests.models.fusion.reference import Parts, assert_equals_reference, block, side_by_side


@torch.no_grad()
def slow_bottleneck(fusion: Fusion, parts: Parts) -> tuple[Tensor, Parts]:
    assert isinstance(fusion, BottleneckFusion)
    shared = fusion.bottlenecks.clone()
    for index, layer in enumerate(fusion.layers):
        assert isinstance(layer, BottleneckLayer)
        if index < 1:
            parts = {name: block(layer.blocks[name], parts[name]) for name in MODALITIES}
            continue
        versions = []
        for name in [name for name in MODALITIES if parts[name].shape[0]]:
            joined = block(layer.blocks[name], torch.cat((parts[name], shared)))
            parts[name], version = joined[:-2], joined[-2:]
            versions.append(version)
        if versions:
            shared = torch.stack(versions).mean(dim=0)
    return side_by_side(fusion.readout.norms, fusion.readout.absent, parts)


def test_it_equals_the_slow_reference() -> None:
    assert_equals_reference(CASES["bottleneck"], slow_bottleneck)


def test_literal_parameter_count() -> None:
    layer = 12 * 64 + 13 * 8
    expected = 3 * 3 * layer + 4 * 8 + 3 * 8 + 3 * (2 * 8 + 8)
    assert num_parameters(BottleneckConfig(heads=2, depth=3, num_bottlenecks=4)) == expected == 7976


@pytest.mark.parametrize(("first", "heard"), [(0, True), (1, True), (2, False)])
def test_modalities_hear_each_other_through_the_bottleneck_alone(first: int, heard: bool) -> None:
    """In the first layer with bottleneck tokens these are written, in the next they are read: not within one layer."""
    tokens, masks = windows(1)
    fusion = build(BottleneckConfig(heads=2, depth=4, bottleneck_layer=first))
    assert isinstance(fusion, BottleneckFusion)
    fusion.layers = fusion.layers[:3]
    before = fusion(tokens, masks).embeddings["video"]
    tokens["audio"] = tokens["audio"] + torch.randn_like(tokens["audio"])
    change = (fusion(tokens, masks).embeddings["video"] - before).abs().max()
    assert change > 1e-6 if heard else change == 0
