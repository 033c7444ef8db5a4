"""A model for labels of the request's choice, put together from tiny towers, and what it is asked."""

from __future__ import annotations

import io
import wave
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.io import encode_png

from handler.pipeline import ActivityPipeline
from handler.runtime import Runtime
from models.checkpoint import load_checkpoint
from training.assemble import assemble
from training.recipe import Recipe

LABELS = ["stir the soup", "pour milk", "chop an onion"]
SAMPLE_RATE = 48_000
EXACT = Runtime(torch.device("cpu"), torch.float32, threads=2)


def recipe_values(
    image: Path | None = None, audio: Path | None = None, video: Path | None = None, **zero_shot: Any
) -> dict[str, Any]:
    """A recipe over the folders that are given: pictures and video in a space ``sight``, sound in ``sound``."""
    given = {"image": image, "audio": audio, "video": video}
    sections: dict[str, Any] = dict.fromkeys(("video", "audio", "text"))
    spaces: dict[str, Any] = {}
    for name, folder in given.items():
        if folder is None:
            continue
        source = {"source": str(folder), "output": "embedding"}
        sections[name] = {"encoder": "pretrained", "pretrained": source}
        space = spaces.setdefault("sound" if name == "audio" else "sight", {"modalities": [], "text": source})
        space["modalities"].append(name)
    if video is not None:
        sections["video"]["frames_per_hop"] = 2
    for name, settings in zero_shot.pop("spaces", {}).items():
        spaces[name] |= settings
    labels = zero_shot.pop("labels", [])
    model = {
        "labels": labels,
        "windows": {"stride_seconds": 1.0, "hops": 1 if video is None else 2},
        "decision": {"smoothing_windows": 1, "lookahead_windows": 0, "min_segment_seconds": 0.0, "threshold": 0.0},
        "zero_shot": {"spaces": spaces, **zero_shot},
        **sections,
    }
    return {"name": "tiny", "model": model}


def assembled(output: Path, values: dict[str, Any]) -> Path:
    """The checkpoint of a recipe."""
    assemble(Recipe.read(values, source="recipe"), output, command="activity assemble")
    return output


def pipeline_of(checkpoint: Path) -> ActivityPipeline:
    """Its pipeline, in float32."""
    return ActivityPipeline(load_checkpoint(checkpoint), runtime=EXACT)


def png(pixels: NDArray[np.uint8]) -> bytearray:
    """A picture ``(3, H, W)`` uint8 as a file."""
    return bytearray(encode_png(torch.from_numpy(pixels)).numpy())


def noise(seed: int, seconds: float = 1.0) -> NDArray[np.float32]:
    """Sound ``(L,)`` float32 of whole 16-bit steps."""
    steps = np.random.default_rng(seed).integers(-8000, 8000, round(seconds * SAMPLE_RATE))
    return (steps / 32768).astype(np.float32)


def wav(samples: NDArray[np.float32]) -> bytearray:
    """It as a file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as output:
        output.setnchannels(1)
        output.setsampwidth(2)
        output.setframerate(SAMPLE_RATE)
        output.writeframes((samples * 32768).round().astype("<i2").tobytes())
    return bytearray(file.getvalue())
