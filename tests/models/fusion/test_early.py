from __future__ import annotations

import torch
from torch import Tensor

from models.fusion.base import Fusion
from models.fusion.early import EarlyFusion
from models.fusion_config import EarlyConfig
from tests.models.fusion.cases import CASES, MODALITIES, build, num_parameters, windows
from tests.models.fusion.reference import Parts, assert_equals_reference, divide, mean, transformer


@torch.no_grad()
def slow_early(fusion: Fusion, parts: Parts) -> tuple[Tensor, Parts]:
    assert isinstance(fusion, EarlyFusion)
    joined = transformer(fusion.transformer, torch.cat([parts[name] for name in MODALITIES]))
    return mean(joined), {name: mean(part) for name, part in divide(joined, parts, MODALITIES).items()}


def test_it_equals_the_slow_reference() -> None:
    assert_equals_reference(CASES["early"], slow_early)


def test_it_has_the_transformer_and_the_modality_tokens_and_nothing_else() -> None:
    layer = 4 * 64 + 4 * 8 + 8 * 64 + 5 * 8 + 2 * 2 * 8
    assert num_parameters(EarlyConfig(heads=2, depth=2)) == 2 * layer + 3 * 8 == 1768
    assert {name.split(".")[0] for name, _ in build(CASES["early"]).named_parameters()} == {
        "modality_tokens",
        "transformer",
    }


def test_tokens_attend_across_modalities() -> None:
    tokens, masks = windows(1)
    fusion = build(CASES["early"])
    before = fusion(tokens, masks).embeddings
    tokens["audio"] = tokens["audio"] + torch.randn_like(tokens["audio"])
    after = fusion(tokens, masks).embeddings
    assert min((before[name] - after[name]).abs().max() for name in MODALITIES) > 1e-4
