"""Side models in a checkpoint: copied whole from their sources, and nothing beside them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from models.pretrained.source import weight_files
from models.settings import SettingsError
from models.side_config import CaptionerConfig, TranscriberConfig
from models.side_models import copy_side_models, side_model_files
from tests.models.tiny import TINY
from tests.side_factory import tiny_blip, tiny_whisper


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In several files, beside what nobody reads."""
    folder = tiny_whisper(tmp_path_factory.mktemp("whisper"), max_shard_size="200KB")
    for name in ("pytorch_model.bin", "modeling.py", "README.md"):
        (folder / name).write_text("not read")
    return folder


@pytest.fixture(scope="module")
def blip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_blip(tmp_path_factory.mktemp("blip"))


def test_what_is_read_is_copied(whisper: Path, blip: Path, tmp_path: Path) -> None:
    config = TINY.model_copy(
        update={"transcriber": TranscriberConfig(source=str(whisper)), "captioner": CaptionerConfig(source=str(blip))}
    )
    copy_side_models(config, tmp_path / "checkpoint")
    files = side_model_files(config, tmp_path / "checkpoint")
    shards = weight_files(whisper)
    assert len(shards) > 1
    assert files == (
        *sorted(
            f"transcriber/{name}"
            for name in (
                *("config.json", "generation_config.json", "processor_config.json", "tokenizer.json"),
                *("tokenizer_config.json", "model.safetensors.index.json", *shards),
            )
        ),
        *(
            f"captioner/{name}"
            for name in (
                *("config.json", "generation_config.json", "model.safetensors", "processor_config.json"),
                *("tokenizer.json", "tokenizer_config.json"),
            )
        ),
    )
    there = {path.relative_to(tmp_path / "checkpoint").as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert there == set(files)
    for name in shards:
        assert (tmp_path / "checkpoint" / "transcriber" / name).read_bytes() == (whisper / name).read_bytes()


def test_a_copy_replaces_an_older_one_and_itself_not(whisper: Path, tmp_path: Path) -> None:
    old = tmp_path / "transcriber"
    old.mkdir()
    (old / "stale.json").write_text("{}")
    copy_side_models(TINY.model_copy(update={"transcriber": TranscriberConfig(source=str(whisper))}), tmp_path)
    assert not (old / "stale.json").exists()
    before = sorted(path.name for path in old.iterdir())
    copy_side_models(TINY.model_copy(update={"transcriber": TranscriberConfig(source=str(old))}), tmp_path)
    assert sorted(path.name for path in old.iterdir()) == before
    assert [path.name for path in tmp_path.iterdir()] == ["transcriber"]


def test_without_side_models_nothing_is_made(tmp_path: Path) -> None:
    copy_side_models(TINY, tmp_path / "checkpoint")
    assert not (tmp_path / "checkpoint").exists()
    assert side_model_files(TINY, tmp_path) == ()


def test_a_faulty_source_leaves_the_checkpoint_as_it_was(whisper: Path, tmp_path: Path) -> None:
    config = TINY.model_copy(
        update={
            "transcriber": TranscriberConfig(source=str(whisper)),
            "captioner": CaptionerConfig(source=str(whisper.parent / "nothing")),
        }
    )
    with pytest.raises(SettingsError, match="is no folder"):
        copy_side_models(config, tmp_path)
    assert not any(tmp_path.iterdir())


def test_a_model_of_another_kind_is_refused(whisper: Path, blip: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="of model_type blip; a transcriber is a Whisper"):
        copy_side_models(TINY.model_copy(update={"transcriber": TranscriberConfig(source=str(blip))}), tmp_path)
    with pytest.raises(SettingsError, match="of model_type whisper; a captioner gives text"):
        copy_side_models(TINY.model_copy(update={"captioner": CaptionerConfig(source=str(whisper))}), tmp_path)


def test_a_whisper_that_cannot_time_words_is_refused(whisper: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(whisper, source)
    values = json.loads((source / "generation_config.json").read_text())
    del values["alignment_heads"]
    (source / "generation_config.json").write_text(json.dumps(values))
    config = TINY.model_copy(update={"transcriber": TranscriberConfig(source=str(source))})
    with pytest.raises(SettingsError, match="no alignment_heads"):
        copy_side_models(config, tmp_path / "checkpoint")


def test_a_source_without_a_tokenizer_is_refused(blip: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(blip, source)
    (source / "tokenizer.json").unlink()
    config = TINY.model_copy(update={"captioner": CaptionerConfig(source=str(source))})
    with pytest.raises(SettingsError, match=r"has no tokenizer: none of tokenizer\.json, "):
        copy_side_models(config, tmp_path / "checkpoint")


def test_a_checkpoint_that_lost_a_part_is_refused(whisper: Path, tmp_path: Path) -> None:
    config = TINY.model_copy(update={"transcriber": TranscriberConfig(source=str(whisper))})
    with pytest.raises(SettingsError, match="has no folder transcriber"):
        side_model_files(config, tmp_path)
    copy_side_models(config, tmp_path)
    (tmp_path / "transcriber" / weight_files(whisper)[0]).unlink()
    with pytest.raises(SettingsError, match="is not whole"):
        side_model_files(config, tmp_path)
