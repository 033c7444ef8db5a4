from __future__ import annotations

import torch

from models.fusion.base import moments, stretch_table
from models.fusion_config import EarlyConfig
from tests.models.fusion.cases import build, windows
from tests.models.fusion.reference import sinusoid


def test_masked_tokens_are_zero_and_the_others_have_their_position_and_modality() -> None:
    tokens, masks = windows(1)
    masks["audio"][0, 1] = False
    fusion = build(EarlyConfig(heads=2))
    flat, flat_masks = fusion.flatten(tokens, masks)
    assert flat_masks["audio"][0].tolist() == [True] * 3 + [False] * 3 + [True] * 6
    assert not flat["audio"][0, 3:6].any()
    expected = tokens["audio"][0, 3, 1] + sinusoid(10, 8) + fusion.modality_tokens["audio"]
    torch.testing.assert_close(flat["audio"][0, 10], expected, atol=1e-6, rtol=0)


def test_temporal_positions_are_those_of_the_moment() -> None:
    assert moments(2, 4).tolist() == [0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75]
    tokens, masks = windows(1)
    fusion = build(EarlyConfig(heads=2, positions="temporal"))
    flat, _ = fusion.flatten(tokens, masks)
    for name, per_hop in (("video", 2), ("audio", 3), ("text", 1)):
        added = flat[name][0] - tokens[name][0].flatten(0, 1) - fusion.modality_tokens[name]
        torch.testing.assert_close(added[2 * per_hop], sinusoid(2, 8), atol=1e-6, rtol=0)
        torch.testing.assert_close(added[-1], sinusoid(4 - 1 / per_hop, 8), atol=1e-6, rtol=0)


def test_a_table_of_positions_is_cut_or_stretched() -> None:
    table = torch.tensor([[0.0, 10.0], [1.0, 20.0], [2.0, 30.0]])
    assert stretch_table(table, 2).tolist() == [[0.0, 10.0], [1.0, 20.0]]
    assert torch.equal(stretch_table(table, 3), table)
    assert stretch_table(table, 5).tolist() == [[0.0, 10.0], [0.5, 15.0], [1.0, 20.0], [1.5, 25.0], [2.0, 30.0]]


def test_learned_positions_work_beyond_their_table_and_learn_there() -> None:
    fusion = build(EarlyConfig(heads=2, positions="learned", learned_length=5))
    tokens, masks = windows(2, hops=150)
    output = fusion(tokens, masks).fused
    flipped = {name: tensor.flip(1) for name, tensor in tokens.items()}
    assert (output - fusion(flipped, masks).fused).abs().max() > 1e-6
    output.square().sum().backward()
    for name in ("video", "audio", "text"):
        gradient = fusion.position_tables[name].grad
        assert gradient is not None
        assert gradient.abs().sum(dim=1).min() > 0


def test_without_learned_positions_there_is_no_table() -> None:
    for positions in ("sinusoidal", "temporal", "none"):
        fusion = build(EarlyConfig(heads=2, positions=positions))
        assert not [name for name, _ in fusion.named_parameters() if "position" in name]
