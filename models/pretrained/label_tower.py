"""Label towers: the half of CLIP (arXiv 2103.00020), SigLIP (2303.15343) or CLAP (2211.06687) that embeds sentences."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer
from torch import Tensor, nn

from models.pretrained.build import build_pretrained
from models.pretrained.config import PretrainedConfig
from models.pretrained.encoder import architecture_of, processor_of
from models.pretrained.source import find_source, weight_files
from models.pretrained.weights import check_tensors
from models.pretrained.words import load_source_tokenizer, most_tokens
from models.settings import SettingsError

Scoring = Literal["softmax", "sigmoid"]


@dataclass(frozen=True)
class _Comparison:
    """How the training of an architecture compared its pictures or sounds with texts."""

    scoring: Scoring
    scale: str
    """The tensor that holds the logarithm of the cosines' factor."""
    bias: str | None = None
    """The tensor that is added to them."""


COMPARISONS = {
    "clip": _Comparison("softmax", "logit_scale"),
    "siglip": _Comparison("sigmoid", "logit_scale", bias="logit_bias"),
    "clap": _Comparison("softmax", "logit_scale_a"),
}
"""By the ``model_type`` of the source's ``config.json``."""


class LabelTower(nn.Module):
    """Sentences to embeddings of length 1, in the space of the source's pictures or sounds. It never learns.

    Args:
        config: resolved; its source may be gone.

    Raises:
        SettingsError: the architecture has no text tower that is known here.
        ValueError: the source has not been read.
    """

    scale: Tensor
    """``()`` float: the factor of the cosines."""
    bias: Tensor
    """``()`` float: what is added to them then."""

    def __init__(self, config: PretrainedConfig) -> None:
        super().__init__()
        self.config = config
        self.scoring: Scoring = comparison_of(config).scoring
        self.encoder = build_pretrained("text", config, width=1)
        self.embedding_width = self.encoder.embedding_width
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("bias", torch.zeros(()))
        self.is_masked = bool(processor_of(config)["masked"])
        self.eval()

    def forward(self, token_ids: Tensor, token_mask: Tensor) -> Tensor:
        """Embed sentences.

        Args:
            token_ids: ``(L, S)`` int64.
            token_mask: ``(L, S)`` bool, True = a token, False = padding.

        Returns:
            ``(L, E)`` float of length 1.
        """
        if not self.is_masked:  # it was trained to read its padding
            token_mask = torch.ones_like(token_mask)
        embedded: Tensor = self.encoder(token_ids, token_mask)
        return embedded[:, 0]

    def load(self, folder: Path) -> None:
        """Take weights, scale and bias from a source's folder.

        Raises:
            SettingsError: it has not the tensors that its configuration needs.
        """
        self.encoder.load(folder)
        comparison = comparison_of(self.config)
        scale = read_number(folder, comparison.scale).exp()
        check_tensors(folder, infinite_or_nan=() if scale.isfinite() else (comparison.scale,))
        self.scale.copy_(scale)
        if comparison.bias is not None:
            self.bias.copy_(read_number(folder, comparison.bias))


def comparison_of(config: PretrainedConfig) -> _Comparison:
    """How a resolved source compares with texts.

    Raises:
        SettingsError: it has no text tower that is known here.
    """
    model_type = architecture_of(config).get("model_type")
    comparison = COMPARISONS.get(str(model_type))
    if comparison is None:
        raise SettingsError(
            f"{config.source} is of model_type {model_type!r}, which compares nothing with texts. "
            f"Known are {', '.join(COMPARISONS)}."
        )
    return comparison


def load_label_tokenizer(config: PretrainedConfig) -> Tokenizer:
    """The tokenizer of a resolved source, which cuts as the source's own does.

    It pads where the source's encoder reads the padding too, and not elsewhere, as each label is embedded alone.

    Raises:
        SettingsError: see :func:`models.pretrained.words.load_source_tokenizer`.
    """
    tokenizer = load_source_tokenizer(config, most_tokens(config))
    if processor_of(config)["masked"]:
        tokenizer.no_padding()
    return tokenizer


def label_tokens(config: PretrainedConfig, count: int) -> int:
    """How many tokens a resolved source's encoder reads of a label that has ``count``: more where it reads padding."""
    return min(count, most_tokens(config)) if processor_of(config)["masked"] else most_tokens(config)


def load_tower(tower: LabelTower) -> None:
    """Fill a tower with its source's weights.

    Raises:
        SettingsError: the source cannot be found, or its tensors are not those of its configuration.
    """
    tower.load(find_source(tower.config.source, tower.config.revision))


def read_number(folder: Path, name: str) -> Tensor:
    """A tensor of one number ``()`` float32 of a source.

    Raises:
        SettingsError: there is none of this name.
    """
    try:
        for file in weight_files(folder):
            with safe_open(folder / file, framework="pt") as tensors:
                if name in tensors.keys():  # noqa: SIM118 - it is no mapping
                    number: Tensor = tensors.get_tensor(name)
                    check_tensors(folder, infinite_or_nan=() if number.isfinite().all() else (name,))
                    return number.float().reshape(())
    except (OSError, SafetensorError, RuntimeError) as exc:
        raise SettingsError(f"the weights of {folder} cannot be read: {exc}") from exc
    raise SettingsError(f"the weights of {folder} are not those of its config.json: missing: {name}")
