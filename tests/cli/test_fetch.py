from __future__ import annotations

from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file
from torch.hub import get_dir
from torchvision.models.video import S3D_Weights, s3d
from transformers import CLIPConfig

from cli.errors import CommandError
from cli.fetch import fetch
from models.pretrained.source import find_source

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub cache with one commit of one model; the hub itself is not there."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    folder = tmp_path / "hub" / "models--someone--tiny" / "snapshots" / COMMIT
    folder.mkdir(parents=True)
    CLIPConfig().save_pretrained(folder)
    for name in ("model.safetensors", "tokenizer.json", "vocab.json", "merges.txt", "chat_template.jinja"):
        (folder / name).write_text(name)
    for name in ("pytorch_model.bin", "modeling_tiny.py", "README.md", "model.fp16.safetensors", "tf_model.h5"):
        (folder / name).write_text("not wanted")
    return folder


@pytest.mark.usefixtures("snapshot")
def test_only_what_is_read_is_fetched(tmp_path: Path) -> None:
    output = tmp_path / "weights" / "tiny"
    fetch("someone/tiny", output, COMMIT)
    assert sorted(path.name for path in output.iterdir()) == [
        *("chat_template.jinja", "config.json", "merges.txt", "model.safetensors", "tokenizer.json", "vocab.json")
    ]
    assert (output / "model.safetensors").read_text() == "model.safetensors"
    assert not any(path.is_symlink() for path in output.iterdir())
    assert find_source(str(output), None) == output


def test_a_model_is_not_overwritten_unasked(snapshot: Path, tmp_path: Path) -> None:
    output = tmp_path / "tiny"
    fetch("someone/tiny", output, COMMIT)
    (output / "config.json").write_text("{}")
    with pytest.raises(CommandError, match="holds a model already"):
        fetch("someone/tiny", output, COMMIT)
    fetch("someone/tiny", output, COMMIT, force=True)
    assert (output / "config.json").read_text() == (snapshot / "config.json").read_text()


@pytest.mark.usefixtures("snapshot")
def test_a_folder_of_other_things_is_left_alone(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    fetch("someone/tiny", weights / "tiny", COMMIT)
    with pytest.raises(CommandError, match="holds other things"):
        fetch("someone/tiny", weights, COMMIT, force=True)
    (weights / "tiny" / "mine").mkdir()
    fetch("someone/tiny", weights / "tiny", COMMIT, force=True)
    assert (weights / "tiny" / "mine").is_dir()


def test_a_hub_out_of_reach_leaves_nothing(snapshot: Path, tmp_path: Path) -> None:
    (snapshot / "model.safetensors").unlink()
    with pytest.raises(CommandError, match="The model hub cannot be reached"):
        fetch("someone/tiny", tmp_path / "tiny", COMMIT)
    assert not (tmp_path / "tiny").exists()


@pytest.fixture
def torch_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    folder = Path(get_dir(), "checkpoints")
    folder.mkdir(parents=True)
    return folder


def test_torchvisions_weights_become_a_folder(torch_home: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    state_dict = s3d().state_dict()
    torch.save(state_dict, torch_home / Path(S3D_Weights.KINETICS400_V1.url).name)
    fetch("torchvision:s3d:KINETICS400_V1", tmp_path / "s3d")
    found = load_file(find_source(str(tmp_path / "s3d"), None) / "model.safetensors")
    assert found.keys() == state_dict.keys()
    assert all(torch.equal(found[name], state_dict[name]) for name in found)


class Mark:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return (Path.touch, (self.path,))


def test_torchvisions_file_is_read_as_weights_alone(torch_home: Path, tmp_path: Path) -> None:
    torch.save({"weight": Mark(tmp_path / "mark")}, torch_home / Path(S3D_Weights.KINETICS400_V1.url).name)
    with pytest.raises(CommandError, match="are not weights alone"):
        fetch("torchvision:s3d:KINETICS400_V1", tmp_path / "s3d")
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    ("source", "message", "remedy"),
    [
        ("torchvision:s4d:DEFAULT", "s4d is no video encoder", "mvit_v2_s"),
        ("torchvision:r3d_18:DEFAULT", "r3d_18 is no video encoder", "mvit_v1_b, mvit_v2_s, s3d, swin3d_b"),
        ("torchvision:s3d:KINETICS", "has no weights 'KINETICS' of s3d", "torchvision:s3d:KINETICS400_V1"),
        ("torchvision:s3d", "has no weights '' of s3d", "torchvision:s3d:KINETICS400_V1"),
    ],
)
def test_unknown_names_come_with_the_known_ones(tmp_path: Path, source: str, message: str, remedy: str) -> None:
    with pytest.raises(CommandError, match=message) as caught:
        fetch(source, tmp_path / "weights")
    assert remedy in caught.value.remedy


@pytest.mark.usefixtures("torch_home")
def test_torchvisions_site_out_of_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(CommandError, match="cannot be fetched") as caught:
        fetch("torchvision:s3d:KINETICS400_V1", tmp_path / "s3d")
    assert S3D_Weights.KINETICS400_V1.url in caught.value.remedy
