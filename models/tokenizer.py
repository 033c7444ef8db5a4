"""The text's tokenizer: byte-pair encoding over lower-cased words (arXiv 1508.07909), by the tokenizers library."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import Tensor

from models.settings import SettingsError

PADDING, UNKNOWN = "[PAD]", "[UNK]"
PADDING_ID, UNKNOWN_ID = 0, 1  # the order of the special tokens in training
CHARACTERS_PER_TOKEN = 32
"""Characters that are looked at for each token that is kept: more than a word has, and a bound on the work."""


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Learn a vocabulary of at most ``vocab_size`` entries; id 0 is padding, id 1 the unknown."""
    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKD(), normalizers.Lowercase(), normalizers.StripAccents()]  # decomposed: accents stand alone
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.BPEDecoder()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=[PADDING, UNKNOWN], min_frequency=2, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def load_tokenizer(path: Path) -> Tokenizer:
    """Read a ``tokenizer.json``.

    Raises:
        SettingsError: when it is missing or no tokenizer.
    """
    try:
        return Tokenizer.from_file(str(path))
    except Exception as exc:  # the library raises nothing more special
        raise SettingsError(f"{path.name} is no tokenizer: {exc}") from exc


def tokenize(tokenizer: Tokenizer, texts: Sequence[str], max_tokens: int) -> tuple[Tensor, Tensor]:
    """Texts to ids of one fixed length, cut or padded.

    Of each text the first ``CHARACTERS_PER_TOKEN * max_tokens`` characters count: what lies beyond would be cut anyway,
    and many cues that all overlap would else cost seconds.

    Returns:
        ``token_ids`` ``(B, max_tokens)`` int64 and ``token_mask`` ``(B, max_tokens)`` bool, True = a token. A text
        without a single token keeps one unknown token, so that no row is empty.
    """
    token_ids = torch.full((len(texts), max_tokens), PADDING_ID, dtype=torch.int64)
    token_mask = torch.zeros((len(texts), max_tokens), dtype=torch.bool)
    heads = [text[: CHARACTERS_PER_TOKEN * max_tokens] for text in texts]
    for row, encoding in enumerate(tokenizer.encode_batch(heads, add_special_tokens=False)):
        ids = encoding.ids[:max_tokens] or [UNKNOWN_ID]
        token_ids[row, : len(ids)] = torch.tensor(ids)
        token_mask[row, : len(ids)] = True
    return token_ids, token_mask
