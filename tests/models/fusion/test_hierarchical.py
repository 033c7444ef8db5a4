from __future__ import annotations

import pytest
import torch
from torch import Tensor

from models.fusion.base import Fusion
from models.fusion.hierarchical import HierarchicalFusion
from models.fusion_config import HierarchicalConfig
from tests.models.fusion.cases import CASES, build, num_parameters, windows
from tests.models.fusion.reference import Parts, assert_equals_reference, divide, mean, norm, transformer


@torch.no_grad()
def slow_hierarchical(fusion: Fusion, parts: Parts) -> tuple[Tensor, Parts]:
    assert isinstance(fusion, HierarchicalFusion)
    first, second, third = fusion.modalities
    read = {name: transformer(fusion.temporal[name], part) for name, part in parts.items()}
    pair = transformer(fusion.stages[0], torch.cat((read[first], read[second])))
    everything = transformer(fusion.stages[1], torch.cat((pair, read[third])))
    embeddings = {name: mean(part) for name, part in divide(everything, parts, fusion.modalities).items()}
    return norm(fusion.output_norm, mean(everything)), embeddings


@pytest.mark.parametrize("case", ["hierarchical", "hierarchical in an order"])
def test_it_equals_the_slow_reference(case: str) -> None:
    assert_equals_reference(CASES[case], slow_hierarchical)


def test_literal_parameter_count() -> None:
    layer = 12 * 64 + 13 * 8
    assert num_parameters(HierarchicalConfig(heads=2)) == (3 + 2) * layer + 3 * 8 + 2 * 8 == 4400


def test_the_order_is_the_configured_one() -> None:
    tokens, masks = windows(1)
    fusion = build(HierarchicalConfig(heads=2, order=("text", "audio", "video")))
    assert fusion.modalities == ("text", "audio", "video")
    assert isinstance(fusion, HierarchicalFusion)
    lengths: list[int] = []
    for stage in fusion.stages:
        stage.register_forward_hook(lambda _, inputs, __: lengths.append(inputs[0].shape[1]))
    fusion(tokens, masks)
    assert lengths == [4 + 12, 4 + 12 + 8]


@pytest.mark.parametrize("modalities", [("video",), ("video", "audio"), ("video", "audio", "text", "imu")])
def test_any_number_of_modalities(modalities: tuple[str, ...]) -> None:
    tokens = {name: torch.randn(2, 4, 3, 8, dtype=torch.float64) for name in modalities}
    masks = {name: torch.ones(2, 4, dtype=torch.bool) for name in modalities}
    fusion = build(HierarchicalConfig(heads=2), modalities=modalities)
    assert isinstance(fusion, HierarchicalFusion)
    assert len(fusion.stages) == len(modalities) - 1
    assert fusion(tokens, masks).fused.shape == (2, 8)
