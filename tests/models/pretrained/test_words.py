from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer, BertConfig, CLIPConfig, SiglipConfig

from handler.transform import Transforms
from models.config import ModelConfig
from models.model import build_model
from models.pretrained.adapt import inject_adapters, merge_adapters
from models.pretrained.build import build_pretrained
from models.pretrained.config import PretrainedConfig
from models.pretrained.resolve import load_pretrained, resolve_pretrained
from models.pretrained.weights import quiet_transformers
from models.pretrained.words import WordsEncoder, load_source_tokenizer, read_tokenizer
from models.settings import SettingsError
from models.tokenizer import load_tokenizer
from tests.pretrained_factory import tiny_bert, tiny_clap, tiny_clip, tiny_siglip
from training.encoding import distinct_contents

TOLERANCE = 1e-5
MAX_TOKENS = 12

MAKERS: dict[str, Callable[[Path], Path]] = {
    "bert": tiny_bert,
    "clap": tiny_clap,
    "clip": tiny_clip,
    "siglip": tiny_siglip,
}

TEXTS = (
    "",
    "stir the soup",
    "STIR   the\tsoup!",
    "the milk [SEP] </s> <|endoftext|> in a pan",
    "slowly stir the soup and pour the milk in the pan and chop the onion " * 20,
    "Crème brûlée, Übung, 日本語",
    "soup 🍲 ‍👩‍🍳",
)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: make(tmp_path_factory.mktemp(name)) for name, make in MAKERS.items()}


def unresolved(folder: Path, *, text: dict[str, Any] | None = None, **pretrained: Any) -> ModelConfig:
    section = {"encoder": "pretrained", "pretrained": {"source": str(folder), **pretrained}, **(text or {})}
    values = {"width": 24, "labels": 3, "video": None, "audio": None, "text": section, "fusion": {"kind": "late"}}
    return ModelConfig.read(values, source="test")


def model_config(folder: Path, **settings: Any) -> ModelConfig:
    return resolve_pretrained(unresolved(folder, **settings))


def transforms_of(config: ModelConfig) -> Transforms:
    assert config.text is not None
    assert config.text.pretrained is not None
    return Transforms(config, load_source_tokenizer(config.text.pretrained, config.text.max_tokens))


def loaded(config: ModelConfig) -> WordsEncoder:
    model = build_model(config).eval()
    load_pretrained(model, config)
    encoder = model.encoders["text"]
    assert isinstance(encoder, WordsEncoder)
    return encoder


def library_ids(folder: Path, texts: tuple[str, ...], max_tokens: int | None = None) -> dict[str, Tensor]:
    with quiet_transformers():
        tokenizer = AutoTokenizer.from_pretrained(folder)
        ids = tokenizer(list(texts), padding="max_length", truncation=True, max_length=max_tokens, return_tensors="pt")
    return dict(ids)


@torch.no_grad()
def library_vectors(name: str, folder: Path, texts: tuple[str, ...], *, joint: bool) -> Tensor:
    """What the library's whole model says of the texts, as each architecture's own guide has it."""
    with quiet_transformers():
        model = AutoModel.from_pretrained(folder).eval()
    ids = library_ids(folder, texts)
    if name == "bert":
        states: Tensor = model(**ids).last_hidden_state
        mask = ids["attention_mask"][..., None]
        return (states * mask).sum(dim=1) / mask.sum(dim=1)
    if joint:
        vectors: Tensor = model.get_text_features(**ids).pooler_output
        return nn.functional.normalize(vectors, dim=-1)
    pooled: Tensor = model.text_model(**ids).pooler_output
    return pooled


@pytest.mark.parametrize("name", MAKERS)
def test_ids_and_mask_are_the_tokenizers(sources: dict[str, Path], name: str, tmp_path: Path) -> None:
    config = model_config(sources[name])
    assert config.text is not None
    assert config.text.max_tokens == MAX_TOKENS
    transforms = transforms_of(config)
    expected = library_ids(sources[name], TEXTS)
    mask = expected.get("attention_mask", torch.ones_like(expected["input_ids"])).bool()
    assert transforms.tokenizer is not None
    transforms.tokenizer.save(str(tmp_path / "tokenizer.json"))
    for each in (transforms, Transforms(config, load_tokenizer(tmp_path / "tokenizer.json"))):
        token_ids, token_mask = each.text(TEXTS)
        assert torch.equal(token_ids, expected["input_ids"])
        assert torch.equal(token_mask, mask)
    assert mask.all() == (name == "siglip")
    assert token_mask.any(dim=1).all()


@pytest.mark.parametrize("joint", [False, True], ids=["tokens", "embedding"])
@pytest.mark.parametrize("name", MAKERS)
def test_vectors_are_the_librarys(sources: dict[str, Path], name: str, joint: bool) -> None:
    if name == "bert" and joint:
        with pytest.raises(SettingsError, match="of model_type 'bert', has no embedding that words share"):
            model_config(sources[name], output="embedding")
        return
    config = model_config(sources[name], output="embedding" if joint else "tokens")
    encoder = loaded(config)
    with torch.no_grad():
        features = encoder.features(*transforms_of(config).text(TEXTS))
    expected = library_vectors(name, sources[name], TEXTS, joint=joint)
    assert features.shape == (len(TEXTS), 1, expected.shape[1])
    torch.testing.assert_close(features[:, 0], expected, rtol=0, atol=TOLERANCE)
    if joint:
        torch.testing.assert_close(features.norm(dim=-1), torch.ones(len(TEXTS), 1))
    assert len({tuple(row) for row in features[:, 0].round(decimals=4).tolist()}) > len(TEXTS) // 2


@pytest.mark.parametrize("name", MAKERS)
def test_a_text_does_not_depend_on_the_others(sources: dict[str, Path], name: str) -> None:
    config = model_config(sources[name])
    encoder, transforms = loaded(config), transforms_of(config)
    with torch.no_grad():
        together = encoder.features(*transforms.text(TEXTS))
        alone = torch.cat([encoder.features(*transforms.text([text])) for text in TEXTS])
    torch.testing.assert_close(together, alone, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", MAKERS)
def test_training_sees_the_vectors_that_are_served(sources: dict[str, Path], name: str) -> None:
    """It cuts padding off and encodes each different text once."""
    config = model_config(sources[name])
    encoder, transforms = loaded(config), transforms_of(config)
    token_ids, token_mask = transforms.text(["stir the soup", "milk", "stir the soup", ""])
    contents, places = distinct_contents("text", (token_ids.view(2, 2, -1), token_mask.view(2, 2, -1)))
    assert len(contents[0]) == 3
    assert places is not None
    with torch.no_grad():
        served = encoder.features(token_ids, token_mask)
        trained = encoder.features(*contents)[places.flatten()]
    torch.testing.assert_close(trained, served, rtol=0, atol=TOLERANCE)


def test_a_recipe_may_cut_earlier(sources: dict[str, Path]) -> None:
    config = model_config(sources["clip"], text={"max_tokens": 6})
    token_ids, token_mask = transforms_of(config).text(TEXTS)
    expected = library_ids(sources["clip"], TEXTS, 6)
    assert torch.equal(token_ids, expected["input_ids"])
    assert torch.equal(token_mask, expected["attention_mask"].bool())
    with pytest.raises(SettingsError, match=r"model.text.max_tokens is 13, but .* takes 12 at most"):
        model_config(sources["clip"], text={"max_tokens": 13})
    with pytest.raises(SettingsError, match=r"model.text.max_tokens is 6, but .* needs 12"):
        model_config(sources["siglip"], text={"max_tokens": 6})


def test_a_tokenizer_that_knows_more_than_its_encoder_is_refused(sources: dict[str, Path]) -> None:
    text = model_config(sources["bert"]).text
    assert text is not None
    assert text.pretrained is not None
    assert text.pretrained.architecture is not None
    smaller = text.pretrained.model_copy(update={"architecture": {**text.pretrained.architecture, "vocab_size": 50}})
    with pytest.raises(SettingsError, match="its tokenizer gives ids up to 86, its encoder knows 50"):
        load_source_tokenizer(smaller, 12)


def test_code_of_a_source_is_never_run_nor_offered_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.input", pytest.fail)
    (tmp_path / "own.py").write_text("raise SystemExit('it ran')")
    own = {"auto_map": {"AutoTokenizer": ["own.OwnTokenizer", None]}, "tokenizer_class": "OwnTokenizer"}
    for name, values in {"config.json": {}, "tokenizer.json": {}, "tokenizer_config.json": own}.items():
        (tmp_path / name).write_text(json.dumps(values))
    with pytest.raises(SettingsError, match="has no tokenizer that can be read"):
        read_tokenizer(tmp_path)


def test_a_source_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path)
    for path in folder.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(SettingsError, match=r"has no tokenizer: none of tokenizer\.json, "):
        model_config(folder)


@pytest.mark.parametrize("name", MAKERS)
def test_the_last_block_learns_alone(sources: dict[str, Path], name: str) -> None:
    encoder = loaded(model_config(sources[name], tune="last", last_blocks=1))
    assert len(encoder.blocks) == 2
    learning = {id(it) for it in encoder.backbone.parameters() if it.requires_grad}
    assert learning == {id(it) for it in encoder.blocks[-1].parameters()}


@pytest.mark.parametrize("name", MAKERS)
def test_adapters_are_found_a_place(sources: dict[str, Path], name: str) -> None:
    encoder = loaded(model_config(sources[name], tune="lora"))
    names = list(encoder.state_dict())
    inject_adapters(encoder)
    assert len(list(encoder.state_dict())) == len(names) + 2 * 2 * 2  # of queries and values, in two blocks, two each
    merge_adapters(encoder)
    assert list(encoder.state_dict()) == names


def count(config: Any, output: str) -> int:
    pretrained = PretrainedConfig.model_validate(
        {"source": "x", "architecture": config.to_dict(), "processor": {"masked": True}, "output": output}
    )
    with torch.device("meta"):
        backbone = build_pretrained("text", pretrained, width=8).backbone
    return sum(it.numel() for it in backbone.parameters())


def test_published_sizes() -> None:
    """BERT base and MiniLM-L6, here without their poolers; the text halves of CLIP B/32 and of SigLIP base."""
    assert count(BertConfig(), "tokens") + 768 * 769 == 109_482_240
    mini = BertConfig(hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536)
    assert count(mini, "tokens") + 384 * 385 == 22_713_216
    # CLIP B/32 has 151,277,313: 87,849,216 for pictures and 1 for the scale.
    assert count(CLIPConfig(), "embedding") == 151_277_313 - 87_849_216 - 1
    assert count(CLIPConfig(), "tokens") == 63_428_096 - 512 * 512
    # SigLIP base has 203,155,970: 92,884,224 for pictures, and 1 each for scale and bias.
    assert count(SiglipConfig(), "embedding") == count(SiglipConfig(), "tokens") == 203_155_970 - 92_884_224 - 2
