from __future__ import annotations

import torch

from models.config import ModelConfig
from models.head import score_logits
from models.model import build_model, gather_windows
from tests.models.tiny import TINY, tiny_model


def test_the_model_gives_literal_logits() -> None:
    model = tiny_model()
    tokens = {
        "video": model.encode("video", torch.linspace(-1, 1, 4 * 3 * 2 * 16 * 16).reshape(4, 3, 2, 16, 16)),
        "audio": model.encode("audio", torch.linspace(-1, 1, 4 * 16 * 50).reshape(4, 16, 50)),
        "text": model.encode("text", torch.arange(12).reshape(4, 3), torch.ones(4, 3, dtype=torch.bool)),
    }
    masks = {name: torch.ones(1, 4, dtype=torch.bool) for name in tokens}
    output = model({name: tensor[None] for name, tensor in tokens.items()}, masks)
    assert output.fused.shape == (1, 48)
    torch.testing.assert_close(output.logits[0], torch.tensor(LOGITS), atol=1e-4, rtol=0)


def test_a_model_of_one_modality_has_one_encoder() -> None:
    config = ModelConfig(labels=("a", "b"), video=None, text=None)
    model = build_model(config)
    assert list(model.encoders) == ["audio"]
    assert model.fusion.output_width == config.width


def test_every_parameter_learns() -> None:
    model = tiny_model().train()
    hops = {
        "video": model.encode("video", torch.randn(8, 3, 2, 16, 16)),
        "audio": model.encode("audio", torch.randn(8, 16, 50)),
        "text": model.encode("text", torch.randint(0, 64, (8, 5)), torch.ones(8, 5, dtype=torch.bool)),
    }
    masks = {name: torch.ones(2, 4, dtype=torch.bool) for name in hops}
    for row, name in enumerate(hops):
        masks[name][0] = row == 0  # one window with video alone, one with all but text
    masks["text"][1] = False
    tokens = {name: tensor.unflatten(0, (2, 4)) for name, tensor in hops.items()}
    model(tokens, masks).logits.square().sum().backward()
    # video is never absent here, and the text's own path is always masked
    silent = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    assert {name.split(".")[1] for name in silent} <= {
        "absent",
        "text",
        "temporal",
        "layers",
        "output_norms",
        "modality_tokens",
    }
    assert not [name for name in silent if "text" not in name and name != "fusion.absent.video"]


def test_gather_windows_repeats_the_last_hop_beyond_the_end() -> None:
    hops = torch.arange(3)
    assert gather_windows(hops, torch.tensor([0, 1, 2]), 2).tolist() == [[0, 1], [1, 2], [2, 2]]


def test_scores_are_softmax_or_sigmoid_of_the_logits_over_the_temperature() -> None:
    logits = torch.tensor([[0.0, 2.0]])
    single = score_logits(logits, "single_label", 2.0)
    torch.testing.assert_close(single, torch.tensor([[0.2689414213699951, 0.7310585786300049]], dtype=torch.float64))
    multi = score_logits(logits, "multi_label", 1.0)
    torch.testing.assert_close(multi, torch.tensor([[0.5, 0.8807970779778823]], dtype=torch.float64))


def test_the_tiny_configuration_is_the_one_that_the_literals_belong_to() -> None:
    assert TINY.modalities == ("video", "audio", "text")


LOGITS = [-0.19338, 0.2053, 0.03049]
