"""A checkpoint is a folder: ``model.safetensors``, ``model.json`` and, with a text encoder, ``tokenizer.json``.

With labels of a request's choice there is a ``tokenizer-NAME.json`` for each text tower.
Nothing in it is unpickled.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from models.config import ModelConfig
from models.encoder_config import TextConfig
from models.model import ActivityModel, build_model
from models.settings import PositiveFloat, Settings, SettingsError
from models.tokenizer import load_tokenizer

WEIGHTS_FILE, DESCRIPTION_FILE, TOKENIZER_FILE = "model.safetensors", "model.json", "tokenizer.json"
SOURCE_FILE = "config.json"
"""What the folder of a pretrained model has, and no checkpoint."""


class CheckpointDescription(Settings):
    """``model.json``: what stands beside the weights.

    ``temperature`` is the calibration's divisor of the logits; ``metrics`` and ``training`` say what was measured and
    how the weights were made, each with its command.
    """

    name: str = Field(min_length=1)
    version: str = Field(min_length=1)
    config: ModelConfig
    temperature: PositiveFloat = 1.0
    training: dict[str, Any] = Field(default_factory=dict)
    metrics: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True)
class Checkpoint:
    """A loaded checkpoint."""

    description: CheckpointDescription
    model: ActivityModel
    """In evaluation mode, on the CPU, float32."""
    tokenizer: Tokenizer | None
    label_tokenizers: Mapping[str, Tokenizer] = field(default_factory=dict)
    """For each space of ``zero_shot`` that of its text tower."""
    folder: Path | None = None
    """Where it was loaded from, and its side models stand; None for one that was made in memory."""


def save_checkpoint(
    folder: Path,
    description: CheckpointDescription,
    model: ActivityModel,
    tokenizer: Tokenizer | None,
    label_tokenizers: Mapping[str, Tokenizer] | None = None,
) -> None:
    """Write a checkpoint; the folder is made where it is missing.

    An older one there stays whole until all of the new one has been written. Its ``model.json`` then goes first and the
    new one comes last, so that what a process leaves that was killed in between is no checkpoint, and no mixture.

    Raises:
        SettingsError: see :func:`check_place`; or there is no room for the weights.
    """
    check_place(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    tokenizers = {label_tokenizer_file(space): kept for space, kept in (label_tokenizers or {}).items()}
    if tokenizer is not None:
        tokenizers[TOKENIZER_FILE] = tokenizer
    with TemporaryDirectory(prefix=".", suffix=".tmp", dir=folder) as made:
        draft = Path(made)
        try:
            save_file(weights, draft / WEIGHTS_FILE)
        except SafetensorError as exc:
            raise SettingsError(f"the weights cannot be written to {folder}: {exc}") from exc
        for name, kept in tokenizers.items():
            kept.save(str(draft / name))
        write_description(draft, description)
        shutil.copymode(draft / DESCRIPTION_FILE, draft / WEIGHTS_FILE)  # safetensors are for their owner alone
        (folder / DESCRIPTION_FILE).unlink(missing_ok=True)
        for name in (WEIGHTS_FILE, *tokenizers, DESCRIPTION_FILE):
            (draft / name).replace(folder / name)


def check_place(folder: Path) -> None:
    """Check that a checkpoint may be written to a folder: that of a pretrained model would lose its weights.

    Raises:
        SettingsError: it may not.
    """
    if (folder / SOURCE_FILE).exists():
        raise SettingsError(f"{folder} holds a pretrained model, whose weights a checkpoint would replace")


def label_tokenizer_file(space: str) -> str:
    """The name of the tokenizer of a space's text tower."""
    return f"tokenizer-{space}.json"


def tokenizer_files(config: ModelConfig) -> list[str]:
    """The names of the tokenizers that a checkpoint has."""
    spaces = () if config.zero_shot is None else config.zero_shot.spaces
    own = () if config.text is None else (TOKENIZER_FILE,)
    return [*own, *map(label_tokenizer_file, spaces)]


def write_description(folder: Path, description: CheckpointDescription) -> None:
    """Write ``model.json``."""
    text = json.dumps(description.model_dump(mode="json"), indent=2, ensure_ascii=False)
    (folder / DESCRIPTION_FILE).write_text(text + "\n", encoding="utf-8")


def read_description(folder: Path) -> CheckpointDescription:
    """Read ``model.json``.

    Raises:
        SettingsError: when it is missing or does not validate.
    """
    path = folder / DESCRIPTION_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        raise SettingsError(
            f"{folder} is no checkpoint: it has no {DESCRIPTION_FILE}. Give the folder that `activity train` wrote."
        ) from exc
    except ValueError as exc:  # no UTF-8, or no JSON
        raise SettingsError(f"{path} is no JSON: {exc}") from exc
    return CheckpointDescription.read(values, source=DESCRIPTION_FILE)


def load_checkpoint(folder: Path) -> Checkpoint:
    """Rebuild the model of a checkpoint folder.

    Raises:
        SettingsError: when the folder is no checkpoint, or its weights or its tokenizer do not fit its configuration.
    """
    description = read_description(folder)
    model = build_model(description.config)
    try:
        model.load_state_dict(load_file(folder / WEIGHTS_FILE))
    except (OSError, RuntimeError, SafetensorError) as exc:
        raise SettingsError(f"{WEIGHTS_FILE} does not fit {DESCRIPTION_FILE}: {exc}") from exc
    tokenizer = None if description.config.text is None else _load_tokenizer(folder, description.config.text)
    spaces = () if description.config.zero_shot is None else description.config.zero_shot.spaces
    return Checkpoint(
        description=description,
        model=model.eval(),
        tokenizer=tokenizer,
        label_tokenizers={space: load_tokenizer(folder / label_tokenizer_file(space)) for space in spaces},
        folder=folder,
    )


def _load_tokenizer(folder: Path, config: TextConfig) -> Tokenizer:
    tokenizer = load_tokenizer(folder / TOKENIZER_FILE)
    num_entries = tokenizer.get_vocab_size()
    if num_entries > config.vocab_size:
        raise SettingsError(
            f"{TOKENIZER_FILE} has {num_entries} entries, the model of {DESCRIPTION_FILE} knows {config.vocab_size}"
        )
    return tokenizer
