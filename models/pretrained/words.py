"""Text encoders: BERT and MiniLM (arXiv 1810.04805, 2002.10957), the text towers of CLIP, SigLIP and CLAP.

Each gives one vector a text: BERT the mean over its tokens, as sentence-transformers does (arXiv 1908.10084), a tower
its own summary. The ids come of the source's own tokenizer, with its special tokens, its padding and its limit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

from models.pretrained.config import PretrainedConfig
from models.pretrained.encoder import PretrainedEncoder, processor_of
from models.pretrained.family import Family
from models.pretrained.source import find_source
from models.pretrained.towers import tower_config
from models.pretrained.weights import load_backbone, quiet_transformers
from models.settings import SettingsError
from models.tokenizer import CHARACTERS_PER_TOKEN
from models.transformer import masked_mean

BERT_HEADS = ("pooler.", "bert.pooler.", "cls.", "classifier.", "qa_outputs.")
SIGHT = ("vision_model.", "visual_projection.", "logit_scale", "logit_bias")
SOUND = ("audio_model.", "audio_projection.", "logit_scale")

TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "spiece.model")

UNLIMITED = 1_000_000
"""Tokens from which on a tokenizer's limit is none: the library writes 1e30."""


class WordsEncoder(PretrainedEncoder):
    """Texts to one token each; with ``output: embedding`` to joint embeddings of length 1."""

    hops_per_batch = 8

    def extract(self, token_ids: Tensor, token_mask: Tensor) -> Tensor:
        """Encode texts.

        Args:
            token_ids: ``(N, S)`` int64.
            token_mask: ``(N, S)`` bool, True = a token; all True for a source that reads its padding too.

        Returns:
            ``(N, 1, F)`` float.
        """
        output = self.backbone(input_ids=token_ids, attention_mask=token_mask.long())
        summary = self.summarise(output, token_mask)
        if self.config.output == "embedding":
            summary = functional.normalize(summary, dim=-1)
        return summary[:, None]

    def summarise(self, output: Any, token_mask: Tensor) -> Tensor:  # noqa: ARG002 - of BERT
        """The text's vector ``(N, F)`` of what the backbone gives."""
        summary: Tensor = output.text_embeds if "text_embeds" in output else output.pooler_output
        return summary

    def load(self, folder: Path) -> None:
        """See :meth:`models.pretrained.encoder.PretrainedEncoder.load`; a source holds another tower too."""
        mapping = {"key_mapping": {r"^text_model\.": ""}} if _is_bare_clap(self.backbone) else {}
        load_backbone(self.backbone, folder, self.unused, **mapping)

    @property
    def blocks(self) -> tuple[nn.Module, ...]:
        """The backbone's blocks, the last one last."""
        backbone: Any = self.backbone
        encoder = getattr(backbone, "text_model", backbone).encoder
        return tuple(encoder.layer if hasattr(encoder, "layer") else encoder.layers)


class BertEncoder(WordsEncoder):
    """BERT, MiniLM and what else has their architecture: the mean over the words' tokens."""

    def summarise(self, output: Any, token_mask: Tensor) -> Tensor:
        """See :meth:`WordsEncoder.summarise`."""
        return masked_mean(output.last_hidden_state, token_mask)

    def load(self, folder: Path) -> None:
        """See :meth:`models.pretrained.encoder.PretrainedEncoder.load`."""
        load_backbone(self.backbone, folder, self.unused, add_pooling_layer=False)


def _is_bare_clap(backbone: nn.Module) -> bool:
    return type(backbone).__name__ == "ClapTextModel"


def _build_bert(config: PretrainedConfig, width: int) -> WordsEncoder:
    from transformers import BertModel  # noqa: PLC0415 - costs seconds

    settings = tower_config(config, "text_config")
    backbone = BertModel(settings, add_pooling_layer=False)
    return BertEncoder(backbone, config, feature_width=settings.hidden_size, width=width, unused=BERT_HEADS)


def _build_projected(names: tuple[str, str], other_tower: tuple[str, ...]) -> Callable[..., WordsEncoder]:
    """A builder of a text tower: ``names`` of the classes without and with its projection."""

    def build(config: PretrainedConfig, width: int) -> WordsEncoder:
        import transformers  # noqa: PLC0415 - costs seconds

        settings = tower_config(config, "text_config")
        is_embedding = config.output == "embedding"
        backbone = getattr(transformers, names[is_embedding])(settings)
        feature_width = settings.projection_dim if is_embedding else settings.hidden_size
        unused = other_tower if is_embedding else (*other_tower, "text_projection.")
        return WordsEncoder(backbone, config, feature_width=feature_width, width=width, unused=unused)

    return build


def _build_siglip(config: PretrainedConfig, width: int) -> WordsEncoder:
    from transformers import SiglipTextModel  # noqa: PLC0415 - costs seconds

    settings = tower_config(config, "text_config")
    backbone = SiglipTextModel(settings)
    return WordsEncoder(backbone, config, feature_width=settings.projection_size, width=width, unused=SIGHT)


def read_tokenizer(folder: Path) -> Any:
    """A source's own tokenizer, as ``AutoTokenizer`` reads it.

    Raises:
        SettingsError: it has none, or none that can be kept as one ``tokenizer.json``.
    """
    from transformers import AutoTokenizer  # noqa: PLC0415 - costs seconds

    if not any((folder / name).is_file() for name in TOKENIZER_FILES):  # the library would make one without words
        raise SettingsError(f"{folder} has no tokenizer: none of {', '.join(TOKENIZER_FILES)}")
    try:
        with quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, ImportError) as exc:
        raise SettingsError(f"{folder} has no tokenizer that can be read: {exc}") from exc
    if not isinstance(getattr(tokenizer, "backend_tokenizer", None), Tokenizer) or tokenizer.pad_token_id is None:
        raise SettingsError(
            f"{folder}: its {type(tokenizer).__name__} cannot be kept as a tokenizer.json with padding. "
            "Take a source that has one."
        )
    return tokenizer


def _read_processor(folder: Path) -> dict[str, Any]:
    tokenizer = read_tokenizer(folder)
    limited = tokenizer.model_max_length < UNLIMITED
    return {
        "tokenizer": type(tokenizer).__name__,
        "model_max_length": int(tokenizer.model_max_length) if limited else None,
        "masked": "attention_mask" in tokenizer.model_input_names,
        "pad_token": str(tokenizer.pad_token),
        "pad_token_id": int(tokenizer.pad_token_id),
        "padding_side": tokenizer.padding_side,
        "truncation_side": tokenizer.truncation_side,
    }


def most_tokens(config: PretrainedConfig) -> int:
    """The most tokens of a text that a resolved configuration's encoder takes."""
    settings = tower_config(config, "text_config")
    positions = int(settings.max_position_embeddings)
    if settings.model_type == "clap_text_model":
        positions -= int(settings.pad_token_id) + 1  # RoBERTa counts its positions from there
    limit = processor_of(config)["model_max_length"]
    return positions if limit is None else min(positions, int(limit))


def load_source_tokenizer(config: PretrainedConfig, max_tokens: int) -> Tokenizer:
    """The tokenizer of a source, which cuts and pads to ``max_tokens`` as the source's own does.

    Args:
        config: resolved.
        max_tokens: tokens of a text, special ones included.

    Raises:
        SettingsError: the source cannot be found, or its tokenizer has more entries than its encoder.
    """
    processor = processor_of(config)
    kept: Tokenizer = read_tokenizer(find_source(config.source, config.revision)).backend_tokenizer
    vocab_size = int(tower_config(config, "text_config").vocab_size)
    last = max(kept.get_vocab().values())
    if last >= vocab_size:
        raise SettingsError(f"{config.source}: its tokenizer gives ids up to {last}, its encoder knows {vocab_size}")
    kept.enable_truncation(max_tokens, direction=processor["truncation_side"])
    kept.enable_padding(
        direction=processor["padding_side"],
        pad_id=processor["pad_token_id"],
        pad_token=processor["pad_token"],
        length=max_tokens,
    )
    return kept


def tokenize_whole(
    tokenizer: Tokenizer, texts: Sequence[str], config: PretrainedConfig, max_tokens: int
) -> tuple[Tensor, Tensor]:
    """Texts to ids, as the source's own tokenizer does.

    Of each text the first ``CHARACTERS_PER_TOKEN * max_tokens`` characters count (:func:`models.tokenizer.tokenize`).

    Args:
        tokenizer: as :func:`load_source_tokenizer` gave it.
        texts: N texts.
        config: resolved.
        max_tokens: S.

    Returns:
        ``token_ids`` ``(N, S)`` int64 and ``token_mask`` ``(N, S)`` bool, True = a token; where the source's encoder
        is given no mask, its padding counts as tokens. No row is empty.
    """
    encodings = tokenizer.encode_batch([text[: CHARACTERS_PER_TOKEN * max_tokens] for text in texts])
    token_ids = torch.tensor([encoding.ids for encoding in encodings], dtype=torch.int64)
    if not processor_of(config)["masked"]:
        return token_ids, torch.ones_like(token_ids, dtype=torch.bool)
    token_mask = torch.tensor([encoding.attention_mask for encoding in encodings], dtype=torch.bool)
    token_mask[:, 0] |= ~token_mask.any(dim=1)
    return token_ids, token_mask


def _settle(config: PretrainedConfig) -> Mapping[str, Any]:
    settled = {"vocab_size": int(tower_config(config, "text_config").vocab_size)}
    if not processor_of(config)["masked"]:  # it was trained on texts of this very length, padding included
        settled["max_tokens"] = most_tokens(config)
    return settled


def _limits(config: PretrainedConfig) -> Mapping[str, int]:
    return {"max_tokens": most_tokens(config)}


def _family(build: Callable[..., WordsEncoder], *, has_embedding: bool = True) -> Family:
    return Family(
        build=build, read_processor=_read_processor, settle=_settle, limits=_limits, has_embedding=has_embedding
    )


FAMILIES: dict[tuple[str, str], Family] = {
    ("text", "bert"): _family(_build_bert, has_embedding=False),
    ("text", "clip"): _family(_build_projected(("CLIPTextModel", "CLIPTextModelWithProjection"), SIGHT)),
    ("text", "siglip"): _family(_build_siglip),
    ("text", "clap"): _family(_build_projected(("ClapTextModel", "ClapTextModelWithProjection"), SOUND)),
}
