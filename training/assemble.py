"""Putting a model together from pretrained parts alone: a recipe with ``zero_shot`` becomes a checkpoint."""

from __future__ import annotations

from pathlib import Path

from models.checkpoint import CheckpointDescription, check_place, save_checkpoint
from models.config import ModelConfig
from models.model import build_model
from models.pretrained.label_tower import comparison_of, load_label_tokenizer
from models.pretrained.resolve import label_towers_of, load_pretrained, resolve_pretrained
from models.pretrained.words import load_source_tokenizer
from models.settings import SettingsError
from models.side_models import copy_side_models
from training.recipe import Recipe


def check_trainable(config: ModelConfig) -> None:
    """Check that a model is one to train.

    Raises:
        SettingsError: it is put together from pretrained parts.
    """
    if config.zero_shot is not None:
        raise SettingsError(
            "a recipe with model.zero_shot is not trained: `activity assemble` makes its checkpoint, which "
            "`activity fit` fits to labelled clips"
        )


def assemble(recipe: Recipe, output: Path, *, command: str) -> CheckpointDescription:
    """Read the sources of a recipe and write its checkpoint, which needs them no more.

    Args:
        recipe: its model has ``zero_shot``.
        output: the checkpoint's folder.
        command: what was typed, for the checkpoint's record.

    Returns:
        What was written to ``model.json``.

    Raises:
        SettingsError: the recipe is one to train, a source cannot be found or does not fit, or a pretrained model
            stands in ``output``.
    """
    if recipe.model.zero_shot is None:
        raise SettingsError(
            "a recipe without model.zero_shot has parts that must learn: `activity train` makes its checkpoint"
        )
    check_place(output)
    config = resolve_pretrained(recipe.model)
    _check_task(config)
    model = build_model(config)
    load_pretrained(model, config)
    text = config.text
    tokenizer = None
    if text is not None and text.pretrained is not None:
        tokenizer = load_source_tokenizer(text.pretrained, text.max_tokens)
    label_tokenizers = {space: load_label_tokenizer(tower) for space, tower in label_towers_of(config).items()}
    copy_side_models(config, output)  # last, as an older checkpoint may stand there
    description = CheckpointDescription(
        name=recipe.name, version=recipe.version, config=config, training={"command": command}
    )
    save_checkpoint(output, description, model, tokenizer, label_tokenizers)
    return description


def _check_task(config: ModelConfig) -> None:
    competing = [name for name, tower in label_towers_of(config).items() if comparison_of(tower).scoring == "softmax"]
    if config.head.task == "multi_label" and competing:
        raise SettingsError(
            f"head.task multi_label needs scores of labels that do not compete, which SigLIP's do: those of the space "
            f"{', '.join(competing)} sum to 1"
        )
