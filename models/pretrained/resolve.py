"""From a recipe that names sources to a configuration that stands alone; from sources to a built model's weights."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from models.config import Modality, ModelConfig
from models.model import ActivityModel
from models.pretrained.build import find_family
from models.pretrained.config import PretrainedConfig
from models.pretrained.encoder import PretrainedEncoder
from models.pretrained.label_tower import load_tower
from models.pretrained.source import CONFIG_FILE, find_source
from models.pretrained.weights import library_faults
from models.settings import Settings, SettingsError
from models.zero_shot import ZeroShotModel

PRETRAINED_MODALITIES: tuple[Modality, ...] = ("video", "audio", "text", "image")


def pretrained_of(config: ModelConfig) -> dict[Modality, PretrainedConfig]:
    """The modalities whose encoder is a pretrained one."""
    settings = {name: getattr(config, name) for name in PRETRAINED_MODALITIES}
    return {name: it.pretrained for name, it in settings.items() if it is not None and it.pretrained is not None}


def label_towers_of(config: ModelConfig) -> dict[str, PretrainedConfig]:
    """For each space of labels that a request can choose its text tower."""
    spaces = {} if config.zero_shot is None else config.zero_shot.spaces
    return {name: space.text for name, space in spaces.items()}


def resolve_pretrained(config: ModelConfig, *, known: ModelConfig | None = None) -> ModelConfig:
    """Read each source that has not been read, and set what follows from it.

    Args:
        config: of a recipe.
        known: of a checkpoint that has read some of the same sources: these are not read again.

    Returns:
        A configuration from which the model is built without its sources.

    Raises:
        SettingsError: a source cannot be found or used, or the recipe contradicts it.
    """
    unread = {name: it for name, it in pretrained_of(config).items() if not it.is_resolved}
    towers = label_towers_of(config)
    if not unread and all(tower.is_resolved for tower in towers.values()):
        return config
    values = config.model_dump(exclude_unset=True)
    for space, tower in towers.items():
        values["zero_shot"]["spaces"][space]["text"] = resolve_source("text", tower)
    read_before = {} if known is None else pretrained_of(known)
    for name, pretrained in unread.items():
        resolved = _as_before(pretrained, read_before.get(name)) or resolve_source(name, pretrained)
        values[name] = _settled(name, getattr(config, name), resolved, hops=config.windows.hops)
    return ModelConfig.read(values, source="the model with what its pretrained sources say")


def _as_before(config: PretrainedConfig, before: PretrainedConfig | None) -> PretrainedConfig | None:
    """The configuration with what was read of the same source before."""
    if before is None or (config.source, config.revision) != (before.source, before.revision):
        return None
    return config.model_copy(update={"architecture": before.architecture, "processor": before.processor})


def resolve_source(modality: Modality, config: PretrainedConfig) -> PretrainedConfig:
    """Read a source's architecture and preprocessing.

    Raises:
        SettingsError: it cannot be found, or is no encoder for the modality.
    """
    if config.is_resolved:
        return config
    folder = find_source(config.source, config.revision)
    architecture = _read_json(folder / CONFIG_FILE)
    family = find_family(modality, config, architecture.get("model_type"))
    with library_faults(config.source):
        return config.model_copy(update={"architecture": architecture, "processor": family.read_processor(folder)})


def load_pretrained(model: ActivityModel, config: ModelConfig, *, but: Collection[Modality] = ()) -> None:
    """Fill a built model's pretrained encoders, and its label towers, with their sources' weights.

    Args:
        model: as :func:`models.model.build_model` made it of ``config``.
        config: resolved.
        but: modalities that have their weights from elsewhere.

    Raises:
        SettingsError: a source cannot be found, or its tensors are not those of its configuration.
    """
    for name, pretrained in pretrained_of(config).items():
        if name not in but:
            load_source(model.encoders[name], pretrained)
    if isinstance(model, ZeroShotModel):
        for space in label_towers_of(config):
            load_tower(model.tower(space))


def load_source(encoder: object, config: PretrainedConfig) -> None:
    """Fill one pretrained encoder with its source's weights.

    Raises:
        SettingsError: see :func:`load_pretrained`.
    """
    if not isinstance(encoder, PretrainedEncoder):
        raise TypeError(f"{type(encoder).__name__} is no pretrained encoder")
    encoder.load(find_source(config.source, config.revision))


def _settled(name: Modality, settings: Settings, pretrained: PretrainedConfig, *, hops: int) -> dict[str, Any]:
    """A modality's settings with what follows from its source, which the recipe may repeat but not change."""
    architecture = pretrained.architecture or {}
    family = find_family(name, pretrained, architecture.get("model_type"))
    values = settings.model_dump(exclude_unset=True)
    with library_faults(pretrained.source):
        settled, limits = dict(family.settle(pretrained)), family.limits(pretrained)
    if pretrained.span == "window" and "frames_per_hop" in settled:
        settled["frames_per_hop"] = _frames_of_hop(pretrained.source, settled["frames_per_hop"], hops)
    for key, value in settled.items():
        if key in values and values[key] != value:
            raise SettingsError(
                f"model.{name}.{key} is {values[key]}, but {pretrained.source} needs {value}: leave it out"
            )
        values[key] = value
    for key, limit in limits.items():
        if values.setdefault(key, limit) > limit:
            raise SettingsError(f"model.{name}.{key} is {values[key]}, but {pretrained.source} takes {limit} at most")
    return {**values, "pretrained": pretrained}


def _frames_of_hop(source: str, num_frames: int, hops: int) -> int:
    """Frames of a hop, of which a window's make up the clip that an encoder sees."""
    if num_frames % hops:
        raise SettingsError(
            f"{source} sees {num_frames} frames at once, which {hops} hops a window cannot share: choose windows.hops"
        )
    return num_frames // hops


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as exc:  # no UTF-8, or no JSON
        raise SettingsError(f"{path} is no JSON: {exc}") from exc
    if not isinstance(values, dict):
        raise SettingsError(f"{path} holds no object of keys and values")
    return values
