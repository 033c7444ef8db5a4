from __future__ import annotations

import pytest
import torch

from models.config import ModelConfig
from models.encoder_config import VectorConfig
from models.settings import SettingsError
from models.vector_encoder import build_vector_encoder, pool_rows

KINDS = ("linear", "cnn", "transformer")


def config(encoder: str, tokens_per_hop: int = 2) -> VectorConfig:
    values = {"channels": 6, "rate_hz": 20, "encoder": encoder, "hidden": [4, 8], "depth": 1, "heads": 2}
    return VectorConfig.read({**values, "tokens_per_hop": tokens_per_hop}, source="test")


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        ("linear", (6 * 16 + 16) + 2 * 16),
        ("cnn", 6 * 4 * 5 + 2 * 4 + 4 * 8 * 5 + 2 * 8 + (8 * 16 + 16) + 2 * 16),
        ("transformer", (6 * 16 + 16) + (4 * 16 + 12 * 16 * 16 + 9 * 16) + 2 * 16),
    ],
)
def test_it_counts_what_its_formula_says(kind: str, parameters: int) -> None:
    encoder = build_vector_encoder(config(kind), width=16, dropout=0.0)
    assert sum(p.numel() for p in encoder.parameters()) == parameters


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_rows", [1, 2, 7, 10])
def test_any_number_of_rows_gives_the_hops_tokens(kind: str, num_rows: int) -> None:
    encoder = build_vector_encoder(config(kind), width=16, dropout=0.0).eval()
    assert encoder(torch.randn(3, num_rows, 6)).shape == (3, 2, 16)


def test_the_linear_one_is_a_projection_and_a_norm_of_each_row() -> None:
    torch.manual_seed(0)
    encoder = build_vector_encoder(config("linear", tokens_per_hop=10), width=16, dropout=0.0).double()
    rows = torch.randn(2, 10, 6, dtype=torch.float64)
    projected = rows @ encoder.get_parameter("project.weight").T + encoder.get_parameter("project.bias")
    centred = projected - projected.mean(-1, keepdim=True)
    expected = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(encoder(rows), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_the_rows_tells(kind: str) -> None:
    torch.manual_seed(0)
    encoder = build_vector_encoder(config(kind), width=16, dropout=0.0).eval()
    rows = torch.randn(1, 10, 6)
    assert (encoder(rows) - encoder(rows.flip(1))).abs().max() > 1e-3


def test_the_transformer_sees_the_order_inside_one_token() -> None:
    torch.manual_seed(0)
    encoder = build_vector_encoder(config("transformer", tokens_per_hop=1), width=16, dropout=0.0).eval()
    rows = torch.randn(1, 10, 6)
    assert (encoder(rows) - encoder(rows.flip(1))).abs().max() > 1e-3


def test_rows_are_pooled_in_runs_of_nearly_equal_length() -> None:
    rows = torch.arange(5.0)[None, :, None]
    assert pool_rows(rows, 2).flatten().tolist() == [1.0, 3.0]  # rows 0-2 and 2-4
    assert pool_rows(rows, 1).flatten().tolist() == [2.0]
    assert pool_rows(rows, 5) is rows


@pytest.mark.parametrize(("name", "values"), [("mean", [0.0]), ("std", [1.0, 1.0])])
def test_there_is_one_statistic_a_channel(name: str, values: list[float]) -> None:
    with pytest.raises(SettingsError, match=f"{name} has {len(values)} values, one for each of 6 channels"):
        VectorConfig.read({"channels": 6, "rate_hz": 20, name: values}, source="recipe")


def test_a_hop_needs_a_row() -> None:
    with pytest.raises(SettingsError, match=r"rate_hz 0.9 of imu gives no row in a hop of 0.5 s"):
        ModelConfig.read({"labels": ["a", "b"], "vectors": {"imu": {"channels": 3, "rate_hz": 0.9}}}, source="recipe")
