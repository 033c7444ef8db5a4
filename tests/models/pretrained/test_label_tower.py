from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoTokenizer

from models.pretrained.config import PretrainedConfig
from models.pretrained.label_tower import LabelTower, label_tokens, load_label_tokenizer, load_tower, read_number
from models.pretrained.resolve import resolve_source
from models.pretrained.weights import quiet_transformers
from models.settings import SettingsError
from tests.pretrained_factory import tiny_clap, tiny_clip, tiny_dinov2, tiny_siglip

MAKERS = {"clip": tiny_clip, "siglip": tiny_siglip, "clap": tiny_clap}
LABELS = ["stir the soup", "an onion", "A Long Sentence that is cut somewhere, as it has too many tokens for any tower"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    with quiet_transformers():
        return {name: make(tmp_path_factory.mktemp(name)) for name, make in MAKERS.items()}


def resolved(folder: Path) -> PretrainedConfig:
    return resolve_source("text", PretrainedConfig(source=str(folder), output="embedding"))


@pytest.mark.parametrize("name", MAKERS)
def test_embeddings_are_the_library_s(folders: dict[str, Path], name: str) -> None:
    config = resolved(folders[name])
    tower, tokenizer = LabelTower(config), load_label_tokenizer(config)
    load_tower(tower)
    with quiet_transformers(), torch.no_grad():
        whole = AutoModel.from_pretrained(folders[name]).eval()
        fill = {"padding": "max_length"} if name == "siglip" else {"padding": True}
        texts = AutoTokenizer.from_pretrained(folders[name])(
            LABELS, return_tensors="pt", truncation=True, max_length=12, **fill
        )
        expected = torch.nn.functional.normalize(whole.get_text_features(**texts).pooler_output, dim=-1)
    for label, embedding in zip(LABELS, expected, strict=True):  # each alone, as long as it is
        encoding = tokenizer.encode(label)
        ids, mask = torch.tensor([encoding.ids]), torch.tensor([encoding.attention_mask], dtype=torch.bool)
        torch.testing.assert_close(tower(ids, mask)[0], embedding, atol=1e-5, rtol=0.0)
        assert ids.shape[1] <= 12
    assert not any(parameter.requires_grad for parameter in tower.parameters())


def test_the_tokens_of_a_label(folders: dict[str, Path]) -> None:
    assert [label_tokens(resolved(folders[name]), 8) for name in MAKERS] == [8, 12, 8]
    assert len(load_label_tokenizer(resolved(folders["siglip"])).encode("soup").ids) == 12
    assert len(load_label_tokenizer(resolved(folders["clip"])).encode("soup").ids) < 12


def test_scale_and_bias_are_the_source_s(folders: dict[str, Path], tmp_path: Path) -> None:
    tower = LabelTower(resolved(folders["siglip"]))
    tensors = load_file(folders["siglip"] / "model.safetensors")
    tensors["logit_scale"], tensors["logit_bias"] = torch.tensor([2.0]), torch.tensor([-7.5])
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_bytes((folders["siglip"] / "config.json").read_bytes())
    tower.load(tmp_path)
    assert (float(tower.scale), float(tower.bias)) == pytest.approx((torch.tensor(2.0).exp().item(), -7.5))
    del tensors["logit_bias"]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(SettingsError, match="missing: logit_bias"):
        tower.load(tmp_path)


def test_a_scale_without_end_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(folders["clip"], tmp_path / "clip")
    tensors = load_file(tmp_path / "clip" / "model.safetensors")
    save_file(
        {**tensors, "logit_scale": torch.tensor(200.0)}, tmp_path / "clip" / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(SettingsError, match="logit_scale"):
        load_tower(LabelTower(resolved(tmp_path / "clip")))


def test_numbers_are_found_in_several_files(tmp_path: Path) -> None:
    with quiet_transformers():
        model = AutoModel.from_pretrained(tiny_clip(tmp_path / "whole"))
        model.save_pretrained(tmp_path / "parts", max_shard_size="20KB")
    assert len(list((tmp_path / "parts").glob("*.safetensors"))) > 1
    assert read_number(tmp_path / "parts", "logit_scale") == model.logit_scale


def test_an_architecture_without_texts_is_refused(tmp_path: Path) -> None:
    with quiet_transformers():
        source = tiny_dinov2(tmp_path / "dinov2")
    with pytest.raises(SettingsError, match="which is no encoder for text"):
        resolved(source)
