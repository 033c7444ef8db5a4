"""Torchvision's video classifiers as sources: S3D (arXiv 1712.04851), MViT (2104.11227), Swin3D (2106.13230).

torchvision publishes weights and no folders. :func:`save_torchvision` writes one: ``model.safetensors``, and
``config.json`` with the model's name and the preprocessing that torchvision states for its weights.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from models.pretrained.config import PretrainedConfig
from models.pretrained.encoder import PretrainedEncoder, architecture_of
from models.pretrained.family import Family
from models.pretrained.pictures import KIND, TORCHVISION_KIND, settle_pictures
from models.pretrained.source import CONFIG_FILE
from models.pretrained.weights import check_tensors
from models.settings import SettingsError

MODEL_TYPE = "torchvision"
WEIGHTS_FILE = "model.safetensors"
NUM_FRAMES = {"s3d": 16, "mvit": 16, "swin3d": 32}
"""Frames of a clip, by the beginning of the name: what MViT is built for; S3D takes 14 and more, Swin3D any number."""

HEADS = {"s3d": "classifier", "mvit": "head", "swin3d": "head"}
"""The classifier, by the beginning of the name."""

PREPROCESSING = ("resize_size", "crop_size", "mean", "std", "interpolation")


class TorchvisionEncoder(PretrainedEncoder):
    """A hop to one token: what torchvision's classifier reads."""

    def extract(self, video: Tensor) -> Tensor:
        """Encode hops ``(N, 3, T, H, W)`` float, normalised RGB, to ``(N, 1, F)`` float."""
        # With the channels last, S3D's convolutions and pooling take a third of the time in bfloat16 on a CPU.
        features: Tensor = self.backbone(video.contiguous(memory_format=torch.channels_last_3d))
        return features[:, None]

    @property
    def blocks(self) -> tuple[nn.Module, ...]:
        """See :attr:`models.pretrained.encoder.PretrainedEncoder.blocks`."""
        backbone: Any = self.backbone
        if hasattr(backbone, "blocks"):
            return tuple(backbone.blocks)
        # Swin3D's stages are sequences of blocks, S3D's features are its blocks, with pooling between them.
        parts = [part for stage in backbone.features for part in (stage if type(stage) is nn.Sequential else (stage,))]
        return tuple(part for part in parts if any(True for _ in part.parameters()))

    def load(self, folder: Path) -> None:
        """Take the weights from the folder's safetensors.

        Raises:
            SettingsError: they cannot be read, or are not those of the model that the folder names.
        """
        path = folder / WEIGHTS_FILE
        try:
            found = load_file(path)
        except (OSError, SafetensorError) as exc:
            raise SettingsError(f"the weights {path} cannot be read: {exc}") from exc
        own = self.backbone.state_dict()
        taken = {name: tensor for name, tensor in found.items() if not name.startswith(self.unused)}
        check_tensors(
            folder,
            missing=own.keys() - taken.keys(),
            unexpected=taken.keys() - own.keys(),
            misshapen=[name for name in own.keys() & taken.keys() if own[name].shape != taken[name].shape],
        )
        self.backbone.load_state_dict(taken)


def save_torchvision(
    name: str, state_dict: Mapping[str, Tensor], folder: Path, *, num_frames: int | None = None
) -> None:
    """Write a source's folder.

    Args:
        name: torchvision's name of the model, for example ``s3d``, ``mvit_v2_s``, ``swin3d_t``.
        state_dict: its weights, classifier included.
        folder: is made where it is missing.
        num_frames: of a clip; by default :data:`NUM_FRAMES`.

    Raises:
        SettingsError: another model, or weights that are not its own.
    """
    kind = _kind(name)
    preset = preset_of(name)
    classifier = [tensor for key, tensor in state_dict.items() if key.startswith(f"{HEADS[kind]}.")]
    if not classifier:
        raise SettingsError(f"the weights for {name} have no tensor {HEADS[kind]}.*: they are of another model")
    values = {
        "model_type": MODEL_TYPE,
        "name": name,
        "num_classes": classifier[-1].shape[0],
        "num_frames": num_frames or NUM_FRAMES[kind],
        **{key: getattr(preset, key) for key in PREPROCESSING},
        "interpolation": preset.interpolation.value,
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_file({key: tensor.detach().cpu().contiguous() for key, tensor in state_dict.items()}, folder / WEIGHTS_FILE)
    (folder / CONFIG_FILE).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def is_encoder(name: str) -> bool:
    """Whether torchvision's model of this name is one of the families that are known here."""
    return any(name == kind or name.startswith(f"{kind}_") for kind in HEADS)


def preset_of(name: str) -> Any:
    """Torchvision's preprocessing for its weights of a video model.

    Raises:
        SettingsError: there is no such model.
    """
    return next(iter(_models_of(name).get_model_weights(name))).transforms()


def build_torchvision(name: str) -> Any:
    """Torchvision's video model of this name, with random weights.

    Raises:
        SettingsError: there is none.
    """
    return _models_of(name).get_model(name, weights=None)


def _models_of(name: str) -> Any:
    """Torchvision's registry, once it is known to have a video model of this name."""
    from torchvision import models  # noqa: PLC0415 - costs a second

    if name not in models.list_models(models.video):
        raise SettingsError(f"torchvision has no video model {name}")
    return models


def _kind(name: str) -> str:
    for kind in HEADS:
        if name == kind or name.startswith(f"{kind}_"):
            return kind
    raise SettingsError(f"torchvision's {name} is no encoder that is known: s3d, mvit_*, swin3d_*")


def _build(config: PretrainedConfig, width: int) -> PretrainedEncoder:
    name = str(architecture_of(config).get("name"))
    head = HEADS[_kind(name)]
    backbone = build_torchvision(name)
    classifier = [module for module in getattr(backbone, head).modules() if isinstance(module, nn.Linear | nn.Conv3d)]
    features: Any = classifier[-1]
    feature_width = features.in_features if isinstance(features, nn.Linear) else features.in_channels
    setattr(backbone, head, nn.Identity())
    return TorchvisionEncoder(backbone, config, feature_width=feature_width, width=width, unused=(f"{head}.",))


def _read_processor(folder: Path) -> dict[str, Any]:
    """Torchvision's preset, as the folder's ``config.json`` states it.

    Raises:
        SettingsError: a key is missing.
    """
    values = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    missing = [key for key in PREPROCESSING if key not in values]
    if missing:
        raise SettingsError(f"{folder / CONFIG_FILE} has no {', '.join(missing)}: write it with save_torchvision")
    stated = {key: values[key] for key in PREPROCESSING}
    return {KIND: TORCHVISION_KIND, **stated, "image_mean": values["mean"], "image_std": values["std"]}


def _settle(config: PretrainedConfig) -> dict[str, Any]:
    architecture = architecture_of(config)
    num_frames = architecture.get("num_frames") or NUM_FRAMES[_kind(str(architecture.get("name")))]
    return {**settle_pictures(config), "frames_per_hop": num_frames}


FAMILIES: dict[tuple[str, str], Family] = {
    ("video", MODEL_TYPE): Family(build=_build, read_processor=_read_processor, settle=_settle, sees_time=True)
}
