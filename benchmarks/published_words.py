"""Tokenizers with as many entries as the published ones, of which few are words: the rest fills up the ids."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors

WORDS = (
    *("a", "of", "the", "photo", "video", "person", "this", "is", "sound", "in", "and"),
    *("cooking", "typing", "cutting", "pouring", "walking", "running", "playing", "washing", "reading", "writing"),
)
SPACE = "\u0120"  # how the byte-level alphabet writes it
WHISPER_SIZE, WHISPER_WORDS = 51_865, 50_257
CLIP_SIZE, ROBERTA_SIZE, SIGLIP_SIZE = 49_408, 50_265, 32_000


def filled(entries: Iterable[str], size: int, last: tuple[str, ...] = ()) -> dict[str, int]:
    """A vocabulary of ``size`` entries: these, then some that no text has, then ``last``."""
    names = dict.fromkeys(entries)
    unused = (f"\u2205{number}" for number in range(size - len(names) - len(last)))
    return {name: place for place, name in enumerate((*names, *unused, *last))}


def _merge_all(words: Iterable[tuple[str, ...]]) -> tuple[Any, list[str]]:
    """The merges that make a token of each word's symbols, which are pairs whatever their annotation; their results."""
    merges: dict[tuple[str, str], None] = {}
    for first, *others in words:
        token = first
        for symbol in others:
            merges.setdefault((token, symbol))
            token += symbol
    return list(merges), ["".join(pair) for pair in merges]


def _alphabet() -> list[str]:
    return sorted(pre_tokenizers.ByteLevel.alphabet())


def clip_tokenizer() -> Any:
    """CLIP's, for texts of up to 77 tokens."""
    from transformers import CLIPTokenizer  # noqa: PLC0415 - costs seconds

    merges, made = _merge_all((*word[:-1], f"{word[-1]}</w>") for word in WORDS)
    entries = (*_alphabet(), *(f"{letter}</w>" for letter in _alphabet()), *made)
    vocabulary = filled(entries, CLIP_SIZE, ("<|startoftext|>", "<|endoftext|>"))
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77)


def roberta_tokenizer() -> Any:
    """CLAP's, for texts of up to 512 tokens."""
    from transformers import RobertaTokenizer  # noqa: PLC0415 - costs seconds

    merges, made = _merge_all((SPACE, *word) for word in WORDS)
    entries = ("<s>", "<pad>", "</s>", "<unk>", *_alphabet(), *made)
    vocabulary = filled(entries, ROBERTA_SIZE, ("<mask>",))
    return RobertaTokenizer(vocab=vocabulary, merges=merges, model_max_length=512)


def bert_tokenizer(size: int, **special: Any) -> Any:
    """BERT's word pieces, in lower case, for texts of up to 512 tokens."""
    from transformers import BertTokenizer  # noqa: PLC0415 - costs seconds

    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    entries = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *special.values(), *WORDS, *letters)
    pieces = (*entries, *(f"##{letter}" for letter in letters))
    return BertTokenizer(vocab=filled(pieces, size), model_max_length=512, **special)


def siglip_tokenizer() -> Any:
    """SigLIP's: it ends each text, fills it up to 64 tokens with that end, and has no mask."""
    from transformers import PreTrainedTokenizerFast  # noqa: PLC0415 - costs seconds

    pieces = ("<pad>", "</s>", "<unk>", "\u2581", *(f"\u2581{word}" for word in WORDS), *"abcdefghijklmnopqrstuvwxyz")
    scored = [(piece, -float(place)) for piece, place in filled(pieces, SIGLIP_SIZE).items()]
    tokenizer = Tokenizer(models.Unigram(scored, unk_id=2))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.add_special_tokens([AddedToken("</s>", special=True), AddedToken("<unk>", special=True)])
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    special = {"eos_token": "</s>", "pad_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=64, model_input_names=["input_ids"], **special
    )


def whisper_tokenizer() -> Any:
    """Whisper's of many languages, its special tokens in their order and the times last."""
    from transformers import WhisperTokenizer  # noqa: PLC0415 - costs seconds
    from transformers.models.whisper.tokenization_whisper import LANGUAGES  # noqa: PLC0415

    specials = ["<|endoftext|>", "<|startoftranscript|>", *(f"<|{name}|>" for name in list(LANGUAGES)[:99])]
    specials += ["<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>"]
    specials += ["<|notimestamps|>"]
    merges, made = _merge_all((SPACE, *word) for word in WORDS)
    vocabulary = filled((*_alphabet(), *made), WHISPER_WORDS)
    # An unused entry must be bytes that can be written out, unlike elsewhere.
    vocabulary = {name.replace("\u2205", "x"): place for name, place in vocabulary.items()}
    vocabulary |= {name: WHISPER_WORDS + place for place, name in enumerate(specials)}
    tokenizer = WhisperTokenizer(vocab=vocabulary, merges=merges, extra_special_tokens=specials)
    times = (f"<|{place * 0.02:.2f}|>" for place in range(1501))
    tokenizer.add_tokens([AddedToken(name, special=False, normalized=False) for name in times])
    return tokenizer
