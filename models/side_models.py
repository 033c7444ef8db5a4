"""Side models in a checkpoint: ``transcriber/`` and ``captioner/``, folders as the transformers library has them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from models.config import ModelConfig
from models.pretrained.source import CONFIG_FILE, NEEDED_FILES, check_folder, find_source, weight_files
from models.settings import SettingsError
from models.side_config import SideModelConfig

TRANSCRIBER_FOLDER, CAPTIONER_FOLDER = "transcriber", "captioner"
GENERATION_FILE = "generation_config.json"
TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model", "spiece.model")
MODEL_FILES = (*NEEDED_FILES, "*.safetensors")
"""What a copy replaces in its place; other files there are left alone."""
SETTINGS_FILES = tuple(pattern for pattern in NEEDED_FILES if not pattern.endswith(".safetensors"))


def side_models(config: ModelConfig) -> dict[str, SideModelConfig]:
    """The side models that a model has, by their folder in its checkpoint."""
    configured = {TRANSCRIBER_FOLDER: config.transcriber, CAPTIONER_FOLDER: config.captioner}
    return {name: side for name, side in configured.items() if side is not None}


def needs_transformers(config: ModelConfig) -> bool:
    """Whether a model has a pretrained part, which the transformers library rebuilds."""
    pretrained = any(
        getattr(part, "pretrained", None) for part in (config.video, config.image, config.audio, config.text)
    )
    return pretrained or config.zero_shot is not None or bool(side_models(config))


def copy_side_models(config: ModelConfig, folder: Path) -> None:
    """Copy the side models of ``config`` from their sources into a checkpoint's folder, which is made.

    Call it before the work that must not be in vain: it ends where a source cannot be used. A folder that is already
    there is replaced at the very end.

    Raises:
        SettingsError: a source is not found, is not whole, or is no model of its kind.
    """
    sources = {name: find_source(side.source, side.revision) for name, side in side_models(config).items()}
    for name, source in sources.items():
        check_side_model(name, source)
    for name, source in sources.items():
        copy_model(source, folder / name)


def side_model_files(config: ModelConfig, folder: Path) -> tuple[str, ...]:
    """The files of a checkpoint's side models, relative to its folder, in order; what else lies there is left out.

    Raises:
        SettingsError: a side model that the configuration names is not there, or not whole.
    """
    names: list[str] = []
    for side in side_models(config):
        path = folder / side
        if not path.is_dir():
            raise SettingsError(f"{folder} has no folder {side}, which its configuration names: assemble it again.")
        names += [f"{side}/{name}" for name in model_files(check_side_model(side, path))]
    return tuple(names)


def copy_model(source: Path, target: Path) -> None:
    """Copy a pretrained model's folder: configuration, processor, tokenizer and safetensors, and nothing else.

    Another model in ``target`` is replaced once everything has been copied; what is no model's there stays.

    Raises:
        SettingsError: the source is not whole.
    """
    names = model_files(check_folder(source))
    if target.exists() and source.resolve() == target.resolve():
        return
    draft = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    draft.mkdir(parents=True)
    try:
        for name in names:
            shutil.copyfile(source / name, draft / name)  # what a link in the hub's cache leads to
        target.mkdir(exist_ok=True)
        for path in {path for pattern in MODEL_FILES for path in target.glob(pattern) if path.is_file()}:
            path.unlink()
        for name in names:
            (draft / name).replace(target / name)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def model_files(folder: Path) -> tuple[str, ...]:
    """The names of a pretrained model's files that are ever read, sorted."""
    settings = {path.name for pattern in SETTINGS_FILES for path in folder.glob(pattern) if path.is_file()}
    return tuple(sorted({*settings, *weight_files(folder)}))


def check_side_model(name: str, folder: Path) -> Path:
    """Check that a folder holds a model that can stand as ``name``, a side model's folder.

    Raises:
        SettingsError: it cannot.
    """
    kind = str(_read(check_folder(folder) / CONFIG_FILE).get("model_type"))
    if not any((folder / file).is_file() for file in TOKENIZER_FILES):  # the library would make one without words
        raise SettingsError(f"{folder} has no tokenizer: none of {', '.join(TOKENIZER_FILES)}.")
    if name == TRANSCRIBER_FOLDER:
        _check_transcriber(kind, folder)
    else:
        _check_captioner(kind, folder)
    return folder


def _check_transcriber(kind: str, folder: Path) -> None:
    if kind != "whisper":
        raise SettingsError(f"{folder} is of model_type {kind}; a transcriber is a Whisper: take one of those.")
    path = folder / GENERATION_FILE
    if not path.is_file() or not _read(path).get("alignment_heads"):
        raise SettingsError(
            f"{path} has no alignment_heads, from which the times of words are made: take a Whisper that has them, as "
            "OpenAI's do."
        )


def _check_captioner(kind: str, folder: Path) -> None:
    from transformers.models.auto.modeling_auto import (  # noqa: PLC0415 - needed where there is a captioner only
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    )

    if kind not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        raise SettingsError(f"{folder} is of model_type {kind}; a captioner gives text for a picture, such as blip.")


def _read(path: Path) -> Mapping[str, object]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as exc:
        raise SettingsError(f"{path} is no JSON: {exc}") from exc
    if not isinstance(values, dict):
        raise SettingsError(f"{path} must hold a JSON object")
    return values
