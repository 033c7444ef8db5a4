"""Pretrained models with few, random weights, saved by the library's own classes in the files that real ones have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import ByteLevel, Whitespace
from transformers import (
    BertTokenizer,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipImageProcessor,
    BlipProcessor,
    CLIPImageProcessor,
    CLIPVisionConfig,
    GenerationConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperProcessor,
    WhisperTokenizer,
)
from transformers.models.whisper.tokenization_whisper import LANGUAGES

from models.checkpoint import CheckpointDescription, save_checkpoint
from models.config import ModelConfig
from models.side_models import copy_side_models
from tests.models.tiny import tiny_model, tiny_tokenizer

WORDS = ("stir", "chop", "pour", "milk")
SPACE = "\u0120"  # how the byte-level alphabet writes it
CAPTIONS = ("stir", "chop", "pour", "milk", "soup", "the", "slowly", "pan", "in", "man")
SPOKEN = {*(SPACE + word for word in WORDS), ".", ","}


def tiny_whisper(folder: Path, *, seed: int = 0, max_shard_size: str = "1GB") -> Path:
    """A Whisper that says a few syllables of whatever it hears, with the times of its words."""
    tokenizer = whisper_tokenizer()
    ids = tokenizer.convert_tokens_to_ids
    words = {name: place for name, place in tokenizer.get_vocab().items() if not name.startswith("<|")}
    end, notimestamps = ids("<|endoftext|>"), ids("<|notimestamps|>")
    config = WhisperConfig(
        vocab_size=len(tokenizer),
        num_mel_bins=80,
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        median_filter_width=7,
        decoder_start_token_id=ids("<|startoftranscript|>"),
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        init_std=0.2,  # enough for what is said to depend on what is heard
    )
    torch.manual_seed(seed)
    model = WhisperForConditionalGeneration(config).eval()
    with torch.no_grad():  # else it would say hardly anything but times
        rows = model.get_output_embeddings().weight
        rows[notimestamps + 1 :] *= 0.25
        rows[[words[name] for name in SPOKEN]] *= 2.0
    model.generation_config = GenerationConfig(
        decoder_start_token_id=config.decoder_start_token_id,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        max_length=64,
        is_multilingual=True,
        no_timestamps_token_id=notimestamps,
        max_initial_timestamp_index=50,
        suppress_tokens=[place for name, place in words.items() if name not in SPOKEN] + [end],
        begin_suppress_tokens=[end],
        alignment_heads=[[0, 0], [1, 1]],
        lang_to_id={f"<|{name}|>": ids(f"<|{name}|>") for name in ("en", "de", "fr")},
        task_to_id={name: ids(f"<|{name}|>") for name in ("transcribe", "translate")},
        prev_sot_token_id=ids("<|startofprev|>"),
        return_timestamps=False,
    )
    model.save_pretrained(folder, max_shard_size=max_shard_size)
    WhisperProcessor(WhisperFeatureExtractor(feature_size=80), tokenizer).save_pretrained(folder)
    return folder


def whisper_tokenizer() -> Any:
    """Whisper's tokenizer with few words; its special tokens stand in Whisper's order, the timestamps last."""
    names = sorted(ByteLevel.alphabet())
    merges = []
    for word in WORDS:
        token = SPACE
        for letter in word:
            merges.append((token, letter))
            token += letter
            names.append(token)
    specials = ["<|endoftext|>", "<|startoftranscript|>", *(f"<|{name}|>" for name in LANGUAGES)]
    specials += ["<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>"]
    specials += ["<|notimestamps|>"]
    vocabulary = {name: place for place, name in enumerate(dict.fromkeys((*names, *specials)))}
    tokenizer = WhisperTokenizer(vocab=vocabulary, merges=list(dict.fromkeys(merges)), extra_special_tokens=specials)
    times = (f"<|{place * 0.02:.2f}|>" for place in range(1501))
    tokenizer.add_tokens([AddedToken(name, special=False, normalized=False) for name in times])
    return tokenizer


def tiny_blip(folder: Path, *, seed: int = 0) -> Path:
    """A BLIP that captions with a dozen words."""
    torch.manual_seed(seed)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "a", "video", "of", *CAPTIONS]
    tokenizer = BertTokenizer(vocab={word: place for place, word in enumerate(words)}, bos_token="[DEC]")
    config = BlipConfig(
        text_config={
            "vocab_size": len(words),
            "hidden_size": 32,
            "encoder_hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "max_position_embeddings": 64,
            "projection_dim": 16,
            "bos_token_id": words.index("[DEC]"),
            "sep_token_id": words.index("[SEP]"),
            "eos_token_id": words.index("[SEP]"),
            "pad_token_id": 0,
            "initializer_range": 0.5,
        },
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 32,
            "patch_size": 16,
            "projection_dim": 16,
            "initializer_range": 0.5,
        },
        projection_dim=16,
        image_text_hidden_size=16,
    )
    BlipForConditionalGeneration(config).eval().save_pretrained(folder)
    BlipProcessor(BlipImageProcessor(size={"height": 32, "width": 32}), tokenizer).save_pretrained(folder)
    return folder


CHAT = (
    "{% for message in messages %}USER: {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image> {% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endfor %} ASSISTANT:"
)


def tiny_llava(folder: Path, *, seed: int = 0, chat: bool = True) -> Path:
    """A LLaVA of a tiny CLIP and a tiny Llama; with a chat template or without."""
    torch.manual_seed(seed)
    words = ["<unk>", "<s>", "</s>", "<pad>", "<image>", "user", "assistant", ":", *CAPTIONS]
    backend = Tokenizer(WordLevel({word: place for place, word in enumerate(words)}, unk_token="<unk>"))
    backend.normalizer = Lowercase()
    backend.pre_tokenizer = Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        extra_special_tokens={"image_token": "<image>"},
    )
    vision = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=32,
        patch_size=16,
        projection_dim=16,
        initializer_factor=5.0,
    )
    text = LlamaConfig(
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        initializer_range=0.5,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=3,
    )
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_index=4, vision_feature_layer=-1)
    LlavaForConditionalGeneration(config).eval().save_pretrained(folder)
    sizes: dict[str, Any] = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    LlavaProcessor(
        CLIPImageProcessor(**sizes),
        tokenizer,
        patch_size=16,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT if chat else None,
    ).save_pretrained(folder)
    return folder


def write_checkpoint(folder: Path, config: ModelConfig) -> Path:
    """A checkpoint of the tiny model with its side models."""
    description = CheckpointDescription(name="tiny", version="0.1", config=config)
    save_checkpoint(folder, description, tiny_model(config), tiny_tokenizer())
    copy_side_models(config, folder)
    return folder
