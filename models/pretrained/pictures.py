"""A source's own preprocessing of pictures: its geometry while decoding, its scale and mean before the encoder.

The geometry is done by the library's own processor, picture by picture at native size, so that what the encoder is
given is what that processor would give.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.pretrained.config import PretrainedConfig
from models.pretrained.encoder import processor_of
from models.pretrained.towers import tower_config
from models.pretrained.weights import quiet_transformers
from models.settings import SettingsError

Geometry = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
"""From a picture ``(3, H, W)`` uint8 RGB, upright, of any size to ``(3, size, size)`` uint8."""

PROCESSORS = (
    "CLIPImageProcessor",
    "SiglipImageProcessor",
    "BitImageProcessor",
    "ViTImageProcessor",
    "VideoMAEImageProcessor",
    "VivitImageProcessor",
)
"""Of transformers; a checkpoint that names another class is refused."""

PROBES = ((37, 53), (53, 37), (300, 400))
"""Heights and widths whose result tells the size that a processor gives."""

KIND = "image_processor_type"
TORCHVISION_KIND = "VideoClassification"


def read_image_processor(folder: Path) -> dict[str, Any]:
    """The settings of a source's image processor, from its ``preprocessor_config.json`` or ``processor_config.json``.

    Raises:
        SettingsError: it has none, or one that is not known.
    """
    from transformers import AutoImageProcessor  # noqa: PLC0415 - costs seconds

    try:
        with quiet_transformers():
            processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, ImportError) as exc:
        raise SettingsError(f"{folder} has no image processor that can be read: {exc}") from exc
    values: dict[str, Any] = json.loads(processor.to_json_string())
    if values.get(KIND) not in PROCESSORS:
        raise SettingsError(f"{folder}: the processor {values.get(KIND)} is none of {', '.join(PROCESSORS)}")
    return values


def build_geometry(config: PretrainedConfig) -> Geometry:
    """The resizing and cropping of a resolved configuration's processor."""
    return _build_geometry(json.dumps(processor_of(config), sort_keys=True))


@lru_cache(maxsize=16)
def _build_geometry(values: str) -> Geometry:
    settings = json.loads(values)
    if settings.get(KIND) == TORCHVISION_KIND:
        return _torchvision_geometry(settings)
    processor = build_image_processor(settings)
    # Without these two what comes out is uint8 still.
    skipped: dict[str, bool] = {"do_rescale": False, "do_normalize": False}
    if "offset" in settings:
        skipped["offset"] = False

    def apply(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        batch = processor([np.ascontiguousarray(picture)], input_data_format="channels_first", **skipped)
        pixels = np.asarray(batch["pixel_values"][0])
        return pixels.reshape(pixels.shape[-3:])  # a video's processor gives a video of one frame

    return apply


def _torchvision_geometry(settings: Mapping[str, Any]) -> Geometry:
    """That of torchvision's own preset for videos, whose colours in [0, 1] give back the uint8 that they were."""
    from torchvision.transforms import InterpolationMode  # noqa: PLC0415 - costs a second
    from torchvision.transforms._presets import VideoClassification  # noqa: PLC0415

    preset = VideoClassification(
        crop_size=tuple(settings["crop_size"]),
        resize_size=tuple(settings["resize_size"]),
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        interpolation=InterpolationMode(settings["interpolation"]),
    )

    def apply(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        frame = torch.from_numpy(np.ascontiguousarray(picture))[None]
        return np.asarray((255.0 * preset(frame)[:, 0]).round().to(torch.uint8))

    return apply


def build_image_processor(values: Mapping[str, Any]) -> Any:
    """The library's image processor of these settings.

    Raises:
        SettingsError: of a class that is not known.
    """
    import transformers  # noqa: PLC0415 - costs seconds

    kind = values.get(KIND)
    if kind not in PROCESSORS:
        raise SettingsError(f"the processor {kind} is none of {', '.join(PROCESSORS)}")
    return getattr(transformers, kind).from_dict(dict(values))


def settle_pictures(config: PretrainedConfig) -> dict[str, Any]:
    """The ``size``, ``mean`` and ``std`` of a modality that a processor feeds.

    A processor scales 0 .. 255 by its own factor, may subtract 1, then its mean, and divides by its deviation; all of
    it is one mean and one deviation of colours in [0, 1].

    Raises:
        SettingsError: what it gives depends on the picture's size, or is no square.
    """
    values = processor_of(config)
    geometry = build_geometry(config)
    shapes = {geometry(np.zeros((3, height, width), np.uint8)).shape for height, width in PROBES}
    height, width = next(iter(shapes))[1:]
    if len(shapes) > 1 or height != width:
        raise SettingsError(
            f"the processor of {config.source} gives pictures of {sorted(shape[1:] for shape in shapes)} pixels; "
            "needed is one square size, whatever comes in"
        )
    factor = 255.0 * (values.get("rescale_factor", 1 / 255) if values.get("do_rescale", True) else 1.0)
    offset = 1.0 if values.get("offset") and values.get("do_rescale", True) else 0.0
    normalises = values.get("do_normalize", True)
    mean = values["image_mean"] if normalises else (0.0, 0.0, 0.0)
    std = values["image_std"] if normalises else (1.0, 1.0, 1.0)
    return {
        "size": height,
        "mean": tuple((offset + value) / factor for value in mean),
        "std": tuple(value / factor for value in std),
    }


def vision_config(config: PretrainedConfig) -> Any:
    """The configuration of a source's vision tower: transformers' own object."""
    return tower_config(config, "vision_config")


def settle_fixed_size(config: PretrainedConfig) -> dict[str, Any]:
    """The processor's settings, for an encoder that knows the positions of one grid only.

    Raises:
        SettingsError: processor and encoder are of different sizes.
    """
    settled = settle_pictures(config)
    size = vision_config(config).image_size
    if settled["size"] != size:
        raise SettingsError(f"{config.source}: the processor gives {settled['size']} pixels, the encoder takes {size}")
    return settled


def to_frames(video: torch.Tensor) -> tuple[torch.Tensor, int]:
    """Frames of videos ``(N, 3, T, H, W)`` or pictures ``(N, 3, H, W)``: ``(N * T, 3, H, W)``, and T."""
    if video.ndim == 4:
        return video, 1
    return video.transpose(1, 2).flatten(0, 1), video.shape[2]
