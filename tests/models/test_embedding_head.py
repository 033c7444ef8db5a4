"""The towers: a norm and a projection for each modality, and what a model without them stays."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.config import ModelConfig
from models.embedding_config import EmbeddingConfig
from models.embedding_head import EmbeddingHead
from models.settings import SettingsError
from tests.models.tiny import TINY, tiny_model

TOWERS = TINY.model_copy(update={"embedding": EmbeddingConfig(width=12)})


def test_it_norms_projects_and_scales_to_length_one() -> None:
    torch.manual_seed(0)
    head = EmbeddingHead(("video", "audio"), width=5, embedding_width=3).double()
    pooled = torch.randn(7, 5, dtype=torch.float64)
    weights = {name: tensor.numpy() for name, tensor in head.state_dict().items()}
    for name in ("video", "audio"):
        rows = pooled.numpy()
        normed = (rows - rows.mean(axis=1, keepdims=True)) / np.sqrt(rows.var(axis=1, keepdims=True) + 1e-5)
        normed = normed * weights[f"norms.{name}.weight"] + weights[f"norms.{name}.bias"]
        projected = normed @ weights[f"projections.{name}.weight"].T
        expected = projected / np.linalg.norm(projected, axis=1, keepdims=True)
        np.testing.assert_allclose(head(name, pooled).detach().numpy(), expected, rtol=0, atol=1e-12)


def test_half_precision_around_it_changes_nothing() -> None:
    head = EmbeddingHead(("video",), width=8, embedding_width=4)
    pooled = torch.randn(3, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = head("video", pooled)
    assert torch.equal(mixed, head("video", pooled))


def test_a_model_with_towers_is_that_without_them_and_its_towers() -> None:
    plain, towers = tiny_model().state_dict(), tiny_model(TOWERS).state_dict()
    added = set(towers) - set(plain)
    assert added == {
        *(f"embedding.norms.{name}.{kind}" for name in TINY.modalities for kind in ("weight", "bias")),
        *(f"embedding.projections.{name}.weight" for name in TINY.modalities),
    }
    assert all(torch.equal(plain[name], towers[name]) for name in plain)


def test_all_modalities_are_embedded_unless_some_are_named() -> None:
    assert TINY.embedded_modalities == ()
    assert TOWERS.embedded_modalities == ("video", "audio", "text")
    some = ModelConfig.read({"labels": 2, "embedding": {"modalities": ["text", "audio"]}}, source="x")
    assert some.embedded_modalities == ("text", "audio")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"embedding": {"modalities": ["video", "smell"]}}, "embedding.modalities has smell, the model has video"),
        ({"embedding": {"modalities": ["video"]}}, "embedding.modalities"),
        ({"embedding": {"modalities": ["video", "video"]}}, "a modality is listed twice"),
        ({"embedding": {}, "audio": None, "text": None}, "embedding needs a model of at least two modalities"),
        ({"embedding": {"width": 0}}, "embedding.width"),
        ({"embedding": {"scales": {"video+audio": 3.0}}}, "embedding.scales has video.audio, the pairs are audio.text"),
        ({"embedding": {"scales": {"audio+video": 0.0}}}, "embedding.scales"),
    ],
)
def test_settings_that_do_not_fit_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        ModelConfig.read({"labels": 2, **values}, source="x")


def test_what_a_cosine_counts() -> None:
    fitted = EmbeddingConfig(scales={"audio+text": 20.0, "audio+video": 5.0})
    assert fitted.scale("text", "audio") == fitted.scale("audio", "text") == 20.0
    assert fitted.scale("video", "audio") == 5.0
    assert fitted.scale("video", "video") == 20.0  # as much as the best pair
    assert fitted.scale("text", "video") == EmbeddingConfig().scale("text", "text") == 1 / 0.07
