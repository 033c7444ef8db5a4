from __future__ import annotations

import pytest
import torch

from models.encoder_config import NumericColumn, TabularConfig
from models.settings import SettingsError
from models.tabular_encoder import TabularEncoder

CONFIG = TabularConfig(
    numeric={"guests": NumericColumn(), "hour": NumericColumn()},
    categorical={"place": ("hall", "field"), "day": ()},
    hidden=8,
    embedding_width=4,
)


def encoder() -> TabularEncoder:
    torch.manual_seed(0)
    return TabularEncoder(CONFIG, width=16, dropout=0.0).eval()


def test_it_counts_what_its_formula_says() -> None:
    embeddings = (3 + 1) * 4
    mlp = ((2 * 2 + 2 * 4) * 8 + 8) + (8 * 16 + 16)
    assert sum(p.numel() for p in encoder().parameters()) == embeddings + mlp + 2 * 16


def test_a_missing_number_is_no_average_one_and_has_no_value() -> None:
    module, places = encoder(), torch.zeros(1, 2, dtype=torch.int64)
    average = module(torch.zeros(1, 2), torch.tensor([[True, True]]), places)
    missing = module(torch.zeros(1, 2), torch.tensor([[True, False]]), places)
    otherwise = module(torch.tensor([[0.0, 7.0]]), torch.tensor([[True, False]]), places)
    assert missing.shape == (1, 1, 16)
    assert (average - missing).abs().max() > 1e-3
    assert torch.equal(missing, otherwise)


def test_every_value_of_a_category_has_an_embedding_of_its_own() -> None:
    module, numbers, present = encoder(), torch.zeros(3, 2), torch.ones(3, 2, dtype=torch.bool)
    tokens = module(numbers, present, torch.tensor([[0, 0], [1, 0], [2, 0]]))[:, 0]
    assert torch.pdist(tokens).min() > 1e-3


@pytest.mark.parametrize(
    ("columns", "fault"),
    [
        ({}, "at least one column"),
        ({"numeric": {"a": {}}, "categorical": {"a": []}}, "both numeric and categorical: a"),
        ({"categorical": {"a": ["x", "x"]}}, "the values of a must be unique"),
        ({"numeric": {"a": {"std": 0.0}}}, "numeric.a.std"),
    ],
)
def test_what_is_no_table_is_refused(columns: dict[str, object], fault: str) -> None:
    with pytest.raises(SettingsError, match=fault):
        TabularConfig.read(columns, source="recipe")
