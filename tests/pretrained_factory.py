"""Small random checkpoints in the file formats of the real ones, made by the transformers' own classes."""

# ruff: noqa: PLC0415 - each maker imports its own family alone

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors

WORDS = ["the", "soup", "stir", "chop", "pour", "milk", "onion", "a", "in", "pan", "slowly"]
BYTES = tuple(sorted(pre_tokenizers.ByteLevel.alphabet()))
MERGES = (("t", "h"), ("th", "e</w>"), ("s", "t"), ("i", "r</w>"), ("st", "ir</w>"))


def _save(model: Any, folder: Path, *parts: Any) -> Path:
    """The model and its preprocessors in one folder."""
    model.save_pretrained(folder)
    for part in parts:
        part.save_pretrained(folder)
    return folder


def tiny_whisper(folder: Path, *, seconds: int = 3) -> Path:
    """Whisper of width 16, with the log-mel of Whisper over ``seconds`` instead of 30."""
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

    torch.manual_seed(0)
    config = WhisperConfig(
        vocab_size=64, num_mel_bins=80, d_model=16, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=32,
        decoder_layers=1, decoder_attention_heads=2, decoder_ffn_dim=32, max_source_positions=50 * seconds,
        max_target_positions=16, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
    )  # fmt: skip
    return _save(WhisperForConditionalGeneration(config), folder, WhisperFeatureExtractor(chunk_length=seconds))


def tiny_ast(folder: Path) -> Path:
    """An audio spectrogram transformer of width 16 with a classifier, for up to 3.2 s."""
    from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification

    torch.manual_seed(0)
    config = ASTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, num_mel_bins=32,
        max_length=320, patch_size=16, frequency_stride=10, time_stride=10,
    )  # fmt: skip
    return _save(ASTForAudioClassification(config), folder, ASTFeatureExtractor(num_mel_bins=32, max_length=320))


def _waveform_settings(norm: str) -> dict[str, Any]:
    return {
        "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 16,
        "conv_dim": (16,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2,
        "feat_extract_norm": norm, "do_stable_layer_norm": norm == "layer",
    }  # fmt: skip


def tiny_wav2vec2(folder: Path, *, norm: str = "group") -> Path:
    """Wav2Vec2 of width 16 with a CTC head; with ``norm`` "layer" as the large ones have it."""
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC

    torch.manual_seed(0)
    extractor = Wav2Vec2FeatureExtractor(return_attention_mask=norm == "layer")
    return _save(Wav2Vec2ForCTC(Wav2Vec2Config(**_waveform_settings(norm))), folder, extractor)


def tiny_hubert(folder: Path) -> Path:
    """HuBERT of width 16, bare."""
    from transformers import HubertConfig, HubertModel, Wav2Vec2FeatureExtractor

    torch.manual_seed(0)
    return _save(HubertModel(HubertConfig(**_waveform_settings("group"))), folder, Wav2Vec2FeatureExtractor())


def tiny_wavlm(folder: Path) -> Path:
    """WavLM of width 16, bare, whose processor does not normalise."""
    from transformers import Wav2Vec2FeatureExtractor, WavLMConfig, WavLMModel

    torch.manual_seed(0)
    extractor = Wav2Vec2FeatureExtractor(do_normalize=False)
    return _save(WavLMModel(WavLMConfig(**_waveform_settings("group"))), folder, extractor)


def tiny_clap(folder: Path, *, fusion: bool = False) -> Path:
    """CLAP whose joint embedding has 12 values, for up to 1 s of sound, with a byte-level tokenizer."""
    from transformers import ClapConfig, ClapFeatureExtractor, ClapModel, RobertaTokenizer

    torch.manual_seed(0)
    special = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
    pairs: Any = [("t", "h"), ("th", "e"), ("s", "t"), ("i", "r"), ("st", "ir")]
    entries = (*special, *BYTES, *("".join(pair) for pair in pairs))
    tokenizer = RobertaTokenizer(
        vocab={entry: place for place, entry in enumerate(entries)}, merges=pairs, model_max_length=12
    )
    audio = {
        "spec_size": 64, "num_mel_bins": 16, "patch_embeds_hidden_size": 8, "depths": [1, 1], "hidden_size": 16,
        "num_attention_heads": [2, 2], "num_hidden_layers": 2, "window_size": 4, "patch_size": 4,
        "patch_stride": [4, 4], "enable_fusion": fusion,
        "fusion_type": "aff_2d" if fusion else None, "aff_block_r": 2, "fusion_num_hidden_layers": 2,
    }  # fmt: skip
    text = {
        "vocab_size": len(entries), "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 32, "max_position_embeddings": 14,
    }  # fmt: skip
    extractor = ClapFeatureExtractor(
        feature_size=16, max_length_s=1, hop_length=480, truncation="fusion" if fusion else "rand_trunc",
        padding="repeatpad",
    )  # fmt: skip
    model = ClapModel(ClapConfig(audio_config=audio, text_config=text, projection_dim=12))
    return _save(model, folder, extractor, tokenizer)


def tiny_bert(folder: Path) -> Path:
    """BERT of width 16 with a pooler, for up to 12 tokens of lower-cased word pieces."""
    from transformers import BertConfig, BertModel, BertTokenizer

    torch.manual_seed(0)
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    entries = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *letters, *(f"##{it}" for it in letters))
    vocab = {entry: place for place, entry in enumerate(dict.fromkeys(entries))}
    config = BertConfig(
        vocab_size=len(vocab), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=12,
    )  # fmt: skip
    return _save(BertModel(config), folder, BertTokenizer(vocab=vocab, model_max_length=12))


def clip_tokenizer(max_tokens: int) -> Any:
    """CLIP's tokenizer over single characters and a few merges."""
    from transformers import CLIPTokenizer

    entries = (*BYTES, *(f"{it}</w>" for it in BYTES), *("".join(pair) for pair in MERGES))
    entries = (*entries, "<|startoftext|>", "<|endoftext|>")
    vocab = {entry: place for place, entry in enumerate(entries)}
    merges: Any = list(MERGES)
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=max_tokens)


def tiny_clip(folder: Path) -> Path:
    """CLIP whose joint embedding has 12 values: pictures of 32 x 32 in patches of 16, texts of up to 12 tokens."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    torch.manual_seed(0)
    tokenizer = clip_tokenizer(12)
    layers = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    text = {
        **layers, "vocab_size": len(tokenizer), "max_position_embeddings": 12,
        "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id,
    }  # fmt: skip
    vision = {**layers, "image_size": 32, "patch_size": 16}
    processor = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=12))
    return _save(model, folder, processor, tokenizer)


def siglip_tokenizer(max_tokens: int) -> Any:
    """Pieces after SentencePiece's manner; like SigLIP's it ends each text, pads with that end, and has no mask."""
    from transformers import PreTrainedTokenizerFast

    pieces = ("</s>", "<unk>", "\u2581", *(f"\u2581{word}" for word in WORDS), *"abcdefghijklmnopqrstuvwxyz")
    tokenizer = Tokenizer(models.Unigram([(piece, -float(len(pieces) - len(piece))) for piece in pieces], unk_id=1))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.add_special_tokens([AddedToken("</s>", special=True), AddedToken("<unk>", special=True)])
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 0)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="</s>", pad_token="</s>", unk_token="<unk>",
        model_max_length=max_tokens, model_input_names=["input_ids"],
    )  # fmt: skip


def tiny_siglip(folder: Path) -> Path:
    """SigLIP whose joint embedding has 16 values: pictures of 32 x 32 in patches of 16, texts of 12 tokens."""
    from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel

    torch.manual_seed(0)
    tokenizer = siglip_tokenizer(12)
    layers = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    ends = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    text = {**layers, "vocab_size": len(tokenizer), "max_position_embeddings": 12, "projection_size": 16, **ends}
    vision = {**layers, "image_size": 32, "patch_size": 16}
    processor = SiglipImageProcessor(size={"height": 32, "width": 32})
    return _save(SiglipModel(SiglipConfig(text_config=text, vision_config=vision)), folder, processor, tokenizer)


def tiny_dinov2(folder: Path) -> Path:
    """DINOv2 of width 16 with the positions of 4 x 4 patches, fed 32 x 32 pixels: 2 x 2 patches of 16."""
    from transformers import BitImageProcessor, Dinov2Config, Dinov2Model

    torch.manual_seed(0)
    layers: dict[str, Any] = {
        "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "mlp_ratio": 2,
    }  # fmt: skip
    processor = BitImageProcessor(size={"shortest_edge": 40}, crop_size={"height": 32, "width": 32})
    return _save(Dinov2Model(Dinov2Config(**layers, image_size=64, patch_size=16)), folder, processor)


_CLIPS: dict[str, Any] = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "image_size": 32,
    "num_labels": 5,
}  # fmt: skip
_CROPS: dict[str, Any] = {"size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 32}}


def tiny_videomae(folder: Path) -> Path:
    """VideoMAE of width 16 with a classifier: clips of 4 frames, 2 a step, of 32 x 32 pixels in patches of 16."""
    from transformers import VideoMAEConfig, VideoMAEForVideoClassification, VideoMAEImageProcessor

    torch.manual_seed(0)
    model = VideoMAEForVideoClassification(VideoMAEConfig(**_CLIPS, patch_size=16, num_frames=4, tubelet_size=2))
    return _save(model, folder, VideoMAEImageProcessor(**_CROPS))


def tiny_videomae_pretraining(folder: Path) -> Path:
    """The same as it is published before a classifier is trained, with its decoder."""
    from transformers import VideoMAEConfig, VideoMAEForPreTraining, VideoMAEImageProcessor

    torch.manual_seed(0)
    decoder: dict[str, Any] = {
        "decoder_hidden_size": 8, "decoder_num_hidden_layers": 1, "decoder_intermediate_size": 16,
    }  # fmt: skip
    config = VideoMAEConfig(
        **_CLIPS, patch_size=16, num_frames=4, tubelet_size=2, use_mean_pooling=False, decoder_num_attention_heads=2,
        **decoder,
    )  # fmt: skip
    return _save(VideoMAEForPreTraining(config), folder, VideoMAEImageProcessor(**_CROPS))


def tiny_vivit(folder: Path) -> Path:
    """ViViT of width 16 with a classifier: clips of 4 frames of 32 x 32 pixels, tubelets of 2 x 16 x 16."""
    from transformers import VivitConfig, VivitForVideoClassification, VivitImageProcessor

    torch.manual_seed(0)
    model = VivitForVideoClassification(VivitConfig(**_CLIPS, num_frames=4, tubelet_size=[2, 16, 16]))
    return _save(model, folder, VivitImageProcessor(**_CROPS))


def tiny_timesformer(folder: Path) -> Path:
    """TimeSformer of width 16 with a classifier: clips of 3 frames of 32 x 32 pixels in patches of 16."""
    from transformers import TimesformerConfig, TimesformerForVideoClassification, VideoMAEImageProcessor

    torch.manual_seed(0)
    model = TimesformerForVideoClassification(TimesformerConfig(**_CLIPS, patch_size=16, num_frames=3))
    return _save(model, folder, VideoMAEImageProcessor(**_CROPS))
