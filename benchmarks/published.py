"""Checkpoints of the size of published ones, with random weights, in the files that these come in.

The configurations are those that the makers publish, written down here; where a class of the library has them as its
defaults they are left to it. The number of parameters is checked against the published one, so that a configuration
that is not the real one is noticed. The tokenizers have the real number of entries, but few words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.published_words import bert_tokenizer, clip_tokenizer, roberta_tokenizer, siglip_tokenizer
from benchmarks.published_words import whisper_tokenizer as build_whisper_tokenizer
from models.pretrained.torchvision_folder import save_torchvision
from models.pretrained.weights import quiet_transformers

TORCHVISION = "torchvision:"


@dataclass(frozen=True)
class Published:
    """A published checkpoint."""

    name: str
    """On the model hub; or ``torchvision:MODEL:WEIGHTS``."""
    num_parameters: int
    """Published; of what is tied one is counted."""
    build: Callable[[], Any]
    """The model, with random weights."""
    parts: Callable[[], Sequence[Any]] = tuple
    """What else stands in its folder: processor, tokenizer."""

    def make(self, folder: Path) -> Path:
        """Write a checkpoint with random weights.

        Raises:
            RuntimeError: it has not as many parameters as the published one.
        """
        torch.manual_seed(0)
        model = self.build()
        check_parameters(self, model)
        if self.name.startswith(TORCHVISION):
            save_torchvision(self.name.split(":")[1], model.state_dict(), folder)
            return folder
        with quiet_transformers():
            for part in (model, *self.parts()):
                part.save_pretrained(folder)
        return folder


def count_parameters(model: nn.Module) -> int:
    """The number of a model's parameters; what is tied counts once."""
    return sum(parameter.numel() for parameter in model.parameters())


def check_parameters(published: Published, model: nn.Module) -> None:
    """Check that a model is as large as the published one.

    Raises:
        RuntimeError: it is not.
    """
    found = count_parameters(model)
    if found != published.num_parameters:
        raise RuntimeError(f"{published.name} has {published.num_parameters:,} parameters, this model {found:,}")


def _labels(number: int) -> dict[str, Any]:
    return {"num_labels": number}  # which the library's annotations do not know


def _clip(**sizes: Any) -> Any:
    from transformers import CLIPConfig, CLIPModel  # noqa: PLC0415 - costs seconds

    return CLIPModel(CLIPConfig(**sizes))


def _clip_parts() -> Sequence[Any]:
    from transformers import CLIPImageProcessor  # noqa: PLC0415 - as above

    return CLIPImageProcessor(), clip_tokenizer()


def _siglip() -> Any:
    from transformers import SiglipConfig, SiglipModel  # noqa: PLC0415 - as above

    return SiglipModel(SiglipConfig(text_config={"bos_token_id": 1, "eos_token_id": 1}))


def _siglip_parts() -> Sequence[Any]:
    from transformers import SiglipImageProcessor  # noqa: PLC0415 - as above

    return SiglipImageProcessor(size={"height": 224, "width": 224}), siglip_tokenizer()


def _dinov2() -> Any:
    from transformers import Dinov2Config, Dinov2Model  # noqa: PLC0415 - as above

    return Dinov2Model(Dinov2Config(image_size=518, patch_size=14))


def _dinov2_parts() -> Sequence[Any]:
    from transformers import BitImageProcessor  # noqa: PLC0415 - as above

    return (BitImageProcessor(size={"shortest_edge": 256}, crop_size={"height": 224, "width": 224}),)


def _videomae() -> Any:
    from transformers import VideoMAEConfig, VideoMAEForVideoClassification  # noqa: PLC0415 - as above

    return VideoMAEForVideoClassification(VideoMAEConfig(**_labels(400)))


def _videomae_parts() -> Sequence[Any]:
    from transformers import VideoMAEImageProcessor  # noqa: PLC0415 - as above

    return (VideoMAEImageProcessor(),)


def _s3d() -> Any:
    from torchvision import models  # noqa: PLC0415 - as above

    return models.get_model("s3d", weights=None)


def _clap() -> Any:
    from transformers import ClapConfig, ClapModel  # noqa: PLC0415 - as above

    return ClapModel(ClapConfig())


def _clap_parts() -> Sequence[Any]:
    from transformers import ClapFeatureExtractor  # noqa: PLC0415 - as above

    return ClapFeatureExtractor(truncation="rand_trunc", padding="repeatpad"), roberta_tokenizer()


def _ast() -> Any:
    from transformers import ASTConfig, ASTForAudioClassification  # noqa: PLC0415 - as above

    return ASTForAudioClassification(ASTConfig(**_labels(527)))


def _ast_parts() -> Sequence[Any]:
    from transformers import ASTFeatureExtractor  # noqa: PLC0415 - as above

    return (ASTFeatureExtractor(),)


def _wav2vec2() -> Any:
    from transformers import Wav2Vec2Config, Wav2Vec2ForPreTraining  # noqa: PLC0415 - as above

    return Wav2Vec2ForPreTraining(Wav2Vec2Config())


def _wav2vec2_parts() -> Sequence[Any]:
    from transformers import Wav2Vec2FeatureExtractor  # noqa: PLC0415 - as above

    return (Wav2Vec2FeatureExtractor(),)


def _minilm() -> Any:
    from transformers import BertConfig, BertModel  # noqa: PLC0415 - as above

    return BertModel(BertConfig(hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536))


def _blip() -> Any:
    from transformers import BlipConfig, BlipForConditionalGeneration  # noqa: PLC0415 - as above

    return BlipForConditionalGeneration(BlipConfig())


def _blip_parts() -> Sequence[Any]:
    from transformers import BlipImageProcessor, BlipProcessor  # noqa: PLC0415 - as above

    return (BlipProcessor(BlipImageProcessor(), bert_tokenizer(30_524, bos_token="[DEC]")),)  # noqa: S106 - no password


WORD_FACTOR = 20.0
"""A Whisper with random weights would say hardly anything but times; its words' weights are made greater."""


def _whisper(width: int, layers: int) -> Any:
    from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration  # noqa: PLC0415

    config = WhisperConfig(
        d_model=width,
        encoder_layers=layers,
        decoder_layers=layers,
        encoder_attention_heads=width // 64,
        decoder_attention_heads=width // 64,
        encoder_ffn_dim=4 * width,
        decoder_ffn_dim=4 * width,
        pad_token_id=50_257,
        bos_token_id=50_257,
        eos_token_id=50_257,
        decoder_start_token_id=50_258,
    )
    model = WhisperForConditionalGeneration(config)
    if model.device.type != "meta":
        with torch.no_grad():
            model.get_output_embeddings().weight[:50_257] *= WORD_FACTOR
    tokenizer = build_whisper_tokenizer()
    ids = tokenizer.convert_tokens_to_ids
    model.generation_config = GenerationConfig(
        decoder_start_token_id=50_258,
        bos_token_id=50_257,
        eos_token_id=50_257,
        pad_token_id=50_257,
        max_length=448,
        is_multilingual=True,
        no_timestamps_token_id=ids("<|notimestamps|>"),
        prev_sot_token_id=ids("<|startofprev|>"),
        max_initial_timestamp_index=50,
        alignment_heads=[[layers - 1, head] for head in range(8)],
        lang_to_id={"<|en|>": ids("<|en|>"), "<|de|>": ids("<|de|>")},
        task_to_id={name: ids(f"<|{name}|>") for name in ("transcribe", "translate")},
        return_timestamps=False,
    )
    return model


def _whisper_parts() -> Sequence[Any]:
    from transformers import WhisperFeatureExtractor, WhisperProcessor  # noqa: PLC0415 - as above

    return (WhisperProcessor(WhisperFeatureExtractor(), build_whisper_tokenizer()),)


LARGE_TEXT = {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072, "projection_dim": 768}
LARGE_VISION = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "patch_size": 14,
    "projection_dim": 768,
}

PUBLISHED: dict[str, Published] = {
    "clip": Published("openai/clip-vit-base-patch32", 151_277_313, _clip, _clip_parts),
    "clip-large": Published(
        "openai/clip-vit-large-patch14",
        427_616_513,
        partial(_clip, projection_dim=768, text_config=LARGE_TEXT, vision_config=LARGE_VISION),
        _clip_parts,
    ),
    "siglip": Published("google/siglip-base-patch16-224", 203_155_970, _siglip, _siglip_parts),
    "dinov2": Published("facebook/dinov2-base", 86_580_480, _dinov2, _dinov2_parts),
    "videomae": Published("MCG-NJU/videomae-base-finetuned-kinetics", 86_534_800, _videomae, _videomae_parts),
    "s3d": Published(f"{TORCHVISION}s3d:KINETICS400_V1", 8_320_048, _s3d),
    "clap": Published("laion/clap-htsat-unfused", 153_492_890, _clap, _clap_parts),
    "ast": Published("MIT/ast-finetuned-audioset-10-10-0.4593", 86_594_063, _ast, _ast_parts),
    "wav2vec2": Published("facebook/wav2vec2-base", 95_044_608, _wav2vec2, _wav2vec2_parts),
    "whisper-base": Published("openai/whisper-base", 72_593_920, partial(_whisper, 512, 6), _whisper_parts),
    "whisper-small": Published("openai/whisper-small", 241_734_912, partial(_whisper, 768, 12), _whisper_parts),
    "minilm": Published(
        "sentence-transformers/all-MiniLM-L6-v2", 22_713_216, _minilm, lambda: (bert_tokenizer(30_522),)
    ),
    # Published as 247,414,076: its output's 23,442,432 weights, which are those of its words, counted once more.
    "blip": Published("Salesforce/blip-image-captioning-base", 223_971_644, _blip, _blip_parts),
}
"""By the last part of the folder in which the shipped recipes seek them."""
