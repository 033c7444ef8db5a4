from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPConfig, CLIPModel, WhisperConfig, WhisperModel

from models.config import Modality
from models.inspection import ModelCost, attention_flops, count_biases, feed_forward_flops, measure_cost
from models.model import build_model
from models.transformer import Attention, Transformer
from tests.models.tiny import TINY, tiny_model
from training.recipe import Recipe

ROOT = Path(__file__).resolve().parent.parent.parent


def hop_inputs() -> dict[Modality, tuple[Tensor, ...]]:
    config = TINY
    assert config.video is not None
    assert config.audio is not None
    assert config.text is not None
    return {
        "video": (torch.zeros(1, 3, config.video.frames_per_hop, config.video.size, config.video.size),),
        "audio": (torch.zeros(1, config.audio.n_mels, config.hop_samples // config.audio.hop_length),),
        "text": (torch.zeros(1, 4, dtype=torch.int64), torch.ones(1, 4, dtype=torch.bool)),
    }


def tiny_cost() -> ModelCost:
    return measure_cost(tiny_model(), hop_inputs(), window_hops=TINY.windows.hops)


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 3), st.integers(1, 9), st.sampled_from([8, 16]))
def test_a_layer_costs_what_the_formula_says(batch: int, length: int, width: int) -> None:
    layer = Transformer(1, width, 2, 0.0).eval()
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad(), torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        layer(torch.zeros(batch, length, width))
    formula = 24 * batch * length * width**2 + 4 * batch * length**2 * width
    assert counter.get_total_flops() == formula
    assert batch * (attention_flops(length, length, width) + feed_forward_flops(length, width)) == formula


def test_the_products_of_a_cross_attention_cost_four_m_n_d() -> None:
    queries, keys, width = 5, 7, 16
    projections = 4 * queries * width**2 + 4 * keys * width**2
    assert attention_flops(queries, keys, width) - projections == 4 * queries * keys * width
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad(), torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        Attention(width, 4)(torch.zeros(1, queries, width), torch.zeros(1, keys, width))
    assert counter.get_total_flops() == attention_flops(queries, keys, width)


def test_the_parts_make_up_the_whole() -> None:
    cost = tiny_cost()
    model = tiny_model()
    assert [part.name for part in cost.parts] == ["encoders.video", "encoders.audio", "encoders.text", "fusion", "head"]
    assert cost.num_parameters == sum(parameter.numel() for parameter in model.parameters())
    assert cost.state_bytes == sum(tensor.numel() * 4 for tensor in model.state_dict().values())
    assert cost.num_biases == count_biases(model)


def test_what_was_counted_is_what_the_formula_says() -> None:
    cost = tiny_cost()
    assert cost.transformer_flops == cost.formula_flops > 0


def test_a_further_window_shares_all_hops_but_one() -> None:
    cost = tiny_cost()
    encoders = sum(part.flops for part in cost.parts if part.name.startswith("encoders."))
    assert cost.first_window_flops - cost.next_window_flops == (TINY.windows.hops - 1) * encoders


def test_a_training_model_goes_on_training() -> None:
    model = tiny_model().train()
    measure_cost(model, hop_inputs(), window_hops=TINY.windows.hops)
    assert model.training
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in model.modules())


def test_biases_are_those_of_linear_convolution_and_attention_layers() -> None:
    module = nn.Sequential(nn.Linear(3, 5), nn.LayerNorm(5), nn.Conv2d(5, 2, 3), nn.Linear(2, 2, bias=False))
    assert count_biases(module) == 5 + 2
    assert count_biases(nn.MultiheadAttention(8, 2)) == 3 * 8 + 8


def transformer_parameters(width: int, feed_forward: int, *, cross: bool = False, key_bias: bool = True) -> int:
    """A layer: attention (with a second one for cross-attention), feed-forward, and a LayerNorm before each."""
    attention = 4 * width**2 + (4 if key_bias else 3) * width
    attentions = 2 if cross else 1
    return attentions * attention + 2 * width * feed_forward + feed_forward + width + (attentions + 1) * 2 * width


def whisper_encoder_parameters(width: int, layers: int, *, mels: int = 80) -> int:
    """Trained ones: two convolutions over time of three steps, the layers, a LayerNorm; positions are fixed sines."""
    convolutions = 3 * mels * width + width + 3 * width**2 + width
    return convolutions + layers * transformer_parameters(width, 4 * width, key_bias=False) + 2 * width


def whisper_parameters(width: int, layers: int, *, vocabulary: int = 51_865, steps: int = 1500) -> int:
    decoder = vocabulary * width + 448 * width + 2 * width
    decoder += layers * transformer_parameters(width, 4 * width, cross=True, key_bias=False)
    return whisper_encoder_parameters(width, layers) + steps * width + decoder


def clip_parameters(text_width: int, vision_width: int, vision_layers: int, patch: int, projection: int) -> int:
    text = (49_408 + 77) * text_width + 12 * transformer_parameters(text_width, 4 * text_width) + 2 * text_width
    patches = (224 // patch) ** 2
    vision = 3 * patch**2 * vision_width + vision_width + (patches + 1) * vision_width
    vision += vision_layers * transformer_parameters(vision_width, 4 * vision_width) + 2 * 2 * vision_width
    return text + vision + (text_width + vision_width) * projection + 1


def test_the_published_counts_follow_from_the_configurations() -> None:
    assert whisper_encoder_parameters(1024, 24) == 305_680_384
    assert whisper_parameters(1024, 24) == 763_857_920
    assert clip_parameters(512, 768, 12, 32, 512) == 151_277_313
    assert clip_parameters(768, 1024, 24, 14, 768) == 427_616_513


@pytest.mark.filterwarnings("ignore")  # of the library, about names that it will change
def test_the_library_builds_as_many() -> None:
    whisper = WhisperConfig(
        vocab_size=51_865,
        d_model=1024,
        encoder_layers=24,
        decoder_layers=24,
        encoder_attention_heads=16,
        decoder_attention_heads=16,
        encoder_ffn_dim=4096,
        decoder_ffn_dim=4096,
    )
    base = CLIPConfig(text_config=clip_part(512, 12), vision_config=clip_part(768, 12, patch_size=32))
    large = CLIPConfig(
        text_config=clip_part(768, 12), vision_config=clip_part(1024, 24, patch_size=14), projection_dim=768
    )
    with torch.device("meta"):
        model = WhisperModel(whisper)
        trained = [parameter for parameter in model.encoder.parameters() if parameter.requires_grad]
        assert sum(parameter.numel() for parameter in trained) == 305_680_384
        assert _count(model) == 763_857_920
        assert _count(CLIPModel(base)) == 151_277_313
        assert _count(CLIPModel(large)) == 427_616_513


def clip_part(width: int, layers: int, **more: int) -> dict[str, int]:
    sizes = {"hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": layers}
    return {**sizes, "num_attention_heads": width // 64, **more}


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_textbook_transformer_has_the_published_number_of_parameters() -> None:
    config = Recipe.read_yaml(ROOT / "config/recipes/textbook.yaml").model
    with torch.device("meta"):
        model = build_model(config)
    width, layers, labels = 1024, 12, 400
    projections = (768 + 512 + 768) * width
    weights = projections + layers * 12 * width**2 + width**2 + width * labels
    norms = (3 + 2 * layers + 1) * 2 * width
    modality_tokens = 3 * width
    biases = 3 * width + layers * 9 * width + width + labels
    assert _count(model) - count_biases(model) == weights + norms + modality_tokens == 154_610_688
    assert _count(model) == 154_610_688 + biases == 154_725_776
