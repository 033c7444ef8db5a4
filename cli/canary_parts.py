"""What an archive's canary sends: one part for each modality of its model, small and always the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torchvision.io import encode_png

from models.config import ModelConfig
from models.encoder_config import TabularConfig, VectorConfig
from training.synth.samples import render_canary

SECONDS = 3.0
"""How long a sequence of vectors is."""
LABELS = ("a moving square", "a voice")
"""What a model without labels of its own is asked to tell apart."""
MAX_ROWS, MAX_CELLS = 2_000, 100_000
"""Bounds on a sequence of vectors."""


def render_parts(config: ModelConfig) -> dict[str, bytes]:
    """The parts of a request that a model can use.

    A model that knows video, sound or words is sent the rendered clip with its words, whichever of them it knows; its
    picture is also what stands for depth. A picture, a row and sequences of vectors are made up.
    """
    parts: dict[str, bytes] = {}
    has_clip = any(part is not None for part in (config.video, config.audio, config.text))
    if has_clip or config.depth is not None:
        clip = render_canary()
        if has_clip:
            parts.update(video=clip.video, text=clip.words.encode("utf-8"))
        if config.depth is not None:
            parts["depth"] = clip.video
    if config.image is not None:
        parts["image"] = _picture()
    if config.tabular is not None:
        parts["tabular"] = _row(config.tabular)
    return parts | {name: _sequence(vector) for name, vector in config.vectors.items()}


def choose_options(config: ModelConfig) -> dict[str, Any]:
    """The options of the canary's request; none for a model that was trained for its labels.

    The scores of others are too steep for two processors to agree on them closely: their answer has the embedding too.
    """
    if config.zero_shot is None:
        return {}
    return {"extras": ["embedding"]} | ({} if config.labels else {"labels": list(LABELS)})


def _picture() -> bytes:
    """A PNG of 64 x 64 pixels whose colours change from side to side."""
    ramp = torch.arange(0, 256, 4, dtype=torch.uint8)
    rows, columns = ramp[:, None].expand(64, 64), ramp[None, :].expand(64, 64)
    return bytes(encode_png(torch.stack((rows, columns, 255 - rows))).numpy())


def _row(config: TabularConfig) -> bytes:
    """CSV: each number one deviation above its mean, each category the first that was learned."""
    cells = {name: repr(column.mean + column.std) for name, column in config.numeric.items()}
    cells.update({name: next(iter(values), "") for name, values in config.categorical.items()})
    return "\n".join(",".join(map(_quoted, line)) for line in (cells.keys(), cells.values())).encode("utf-8") + b"\n"


def _quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"'


def _sequence(config: VectorConfig) -> bytes:
    """CSV: in each channel a sine around its mean, at the model's rate."""
    num_rows = max(1, min(round(SECONDS * config.rate_hz), MAX_ROWS, MAX_CELLS // config.channels))
    mean = np.zeros(config.channels) if config.mean is None else np.array(config.mean)
    std = np.ones(config.channels) if config.std is None else np.array(config.std)
    phases = np.arange(num_rows)[:, None] / 7 + np.arange(config.channels)
    lines = [",".join(f"channel_{place}" for place in range(config.channels))]
    lines += [",".join(f"{value:.6g}" for value in row) for row in mean + std * np.sin(phases)]
    return "\n".join(lines).encode("utf-8") + b"\n"
