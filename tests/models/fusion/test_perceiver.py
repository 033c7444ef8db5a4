from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from models.fusion.base import Fusion
from models.fusion.perceiver import PerceiverFusion
from models.fusion_config import PerceiverConfig
from tests.models.fusion.cases import CASES, MODALITIES, WIDTH, build, num_parameters
from tests.models.fusion.reference import (
    Parts,
    assert_equals_reference,
    attention,
    feed_forward,
    mean,
    norm,
    transformer,
)


@torch.no_grad()
def slow_perceiver(fusion: Fusion, parts: Parts) -> tuple[Tensor, Parts]:
    assert isinstance(fusion, PerceiverFusion)
    normed = {name: norm(fusion.token_norm, part) for name, part in parts.items()}
    latents: Tensor = fusion.latents
    keys = torch.cat([normed[name] for name in MODALITIES])
    latents = latents + attention(fusion.cross_attention, norm(fusion.latent_norm, latents), keys)
    latents = latents + feed_forward(fusion.feed_forward, norm(fusion.feed_forward_norm, latents))
    fused = norm(fusion.output_norm, mean(transformer(fusion.transformer, latents)))
    return fused, {name: mean(part) for name, part in normed.items()}


def test_it_equals_the_slow_reference() -> None:
    assert_equals_reference(CASES["perceiver"], slow_perceiver)


def test_literal_parameter_count() -> None:
    layer = 12 * 64 + 13 * 8
    expected = (1 + 2) * layer + 2 * 8 + 2 * 8 + 16 * 8 + 3 * 8  # a cross layer has one norm more: the tokens'
    assert num_parameters(PerceiverConfig(heads=2, depth=2, num_latents=16)) == expected == 2800


def test_a_token_more_costs_its_key_value_and_scores_and_nothing_else() -> None:
    num_latents = 5
    fusion = build(PerceiverConfig(heads=2, num_latents=num_latents), modalities=("video",))

    def work(hops: int) -> int:
        tokens = {"video": torch.randn(1, hops, 1, WIDTH, dtype=torch.float64)}
        with (
            FlopCounterMode(display=False) as counter,
            torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH),
        ):
            fusion(tokens, {"video": torch.ones(1, hops, dtype=torch.bool)})
        return int(counter.get_total_flops())

    keys_and_values, scores = 2 * WIDTH * 2 * WIDTH, 2 * 2 * num_latents * WIDTH
    assert work(1000) - work(10) == 990 * (keys_and_values + scores)
