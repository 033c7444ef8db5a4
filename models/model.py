"""The whole model: an encoder for each modality's hops, a fusion over a window's tokens, a head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.audio_encoder import AudioEncoder
from models.config import Modality, ModelConfig
from models.embedding_head import EmbeddingHead
from models.encoder_config import AudioConfig, ImageConfig, TextConfig, VideoConfig
from models.fusion.build import build_fusion
from models.head import ClassificationHead
from models.image_encoder import build_image_encoder
from models.pretrained.build import build_pretrained
from models.tabular_encoder import TabularEncoder
from models.text_encoder import TextEncoder
from models.vector_encoder import build_vector_encoder
from models.video_cnn import VideoCnn
from models.video_encoder import VideoEncoder


@dataclass(frozen=True)
class ModelOutput:
    """What the model gives for a batch of windows."""

    logits: Tensor
    """``(B, K)`` float, raw."""
    fused: Tensor
    """``(B, fusion.output_width)`` float: the windows' embeddings."""


class ActivityModel(nn.Module):
    """Encoders, fusion and head, injected.

    Args:
        encoders: for each modality a module that maps a batch of hops to tokens ``(B, S, D)``. Each moment is encoded
            once: overlapping windows share its tokens.
        fusion: a module ``(tokens, masks) -> FusionOutput``.
        head: a module that maps the fused embedding to logits ``(B, K)``.
        embedding: embeds single modalities in a space that they share; None where the model does not.
    """

    def __init__(
        self,
        encoders: Mapping[Modality, nn.Module],
        fusion: nn.Module,
        head: nn.Module,
        embedding: EmbeddingHead | None = None,
    ) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict({str(name): encoder for name, encoder in encoders.items()})
        self.fusion = fusion
        self.head = head
        self.towers = nn.ModuleDict()  # of labels, where these are a request's choice
        self.embedding = embedding

    @property
    def token_widths(self) -> Mapping[Modality, int]:
        """The width of the tokens of each modality for which it is not the model's."""
        return {}

    def encode(self, modality: Modality, *inputs: Tensor) -> Tensor:
        """Encode a batch of hops of one modality to ``(B, S, D)`` float."""
        tokens: Tensor = self.encoders[modality](*inputs)
        return tokens

    def forward(self, tokens: Mapping[Modality, Tensor], masks: Mapping[Modality, Tensor]) -> ModelOutput:
        """Classify windows.

        Args:
            tokens: for each modality ``(B, hops, S, D)`` float.
            masks: for each modality ``(B, hops)`` bool, True where the hop has it.
        """
        fusion = self.fusion(tokens, masks)
        return ModelOutput(logits=self.head(fusion.fused), fused=fusion.fused)


def build_model(config: ModelConfig) -> ActivityModel:
    """Build the model that ``config`` describes, with random weights."""
    width, dropout = config.width, config.dropout
    encoders: dict[Modality, nn.Module] = {}
    if config.video is not None:
        encoders["video"] = _build_video_encoder(config.video, width=width, dropout=dropout, channels=3)
    if config.audio is not None:
        encoders["audio"] = _build_audio_encoder(config.audio, width=width, hop_samples=config.heard_samples)
    if config.text is not None:
        encoders["text"] = _build_text_encoder(config.text, width=width, dropout=dropout)
    if config.image is not None:
        encoders["image"] = _build_image_encoder(config.image, width=width, dropout=dropout)
    if config.tabular is not None:
        encoders["tabular"] = TabularEncoder(config.tabular, width=width, dropout=dropout)
    if config.depth is not None:
        encoders["depth"] = _build_video_encoder(config.depth, width=width, dropout=dropout, channels=1)
    for name, vector in config.vectors.items():
        encoders[name] = build_vector_encoder(vector, width=width, dropout=dropout)
    if config.zero_shot is not None:
        from models.zero_shot import build_zero_shot_model  # noqa: PLC0415 - it is made of this module's model

        return build_zero_shot_model(config, encoders)
    fusion = build_fusion(config.fusion, config.modalities, width=width, dropout=dropout)
    head = ClassificationHead(
        config.head, input_width=fusion.output_width, num_labels=len(config.labels), dropout=dropout
    )
    embedding = None
    if config.embedding is not None:
        embedding = EmbeddingHead(config.embedded_modalities, width=width, embedding_width=config.embedding.width)
    return ActivityModel(encoders, fusion, head, embedding)


def _build_video_encoder(config: VideoConfig, *, width: int, dropout: float, channels: int) -> nn.Module:
    if config.pretrained is not None:
        return build_pretrained("video", config.pretrained, width=width)
    if config.encoder == "cnn":
        return VideoCnn(config, width=width, dropout=dropout)
    return VideoEncoder(config, width=width, dropout=dropout, channels=channels)


def _build_audio_encoder(config: AudioConfig, *, width: int, hop_samples: int) -> nn.Module:
    if config.pretrained is not None:
        hop = {"hop_samples": hop_samples, "tokens_per_hop": config.tokens_per_hop}
        return build_pretrained("audio", config.pretrained, width=width, **hop)
    return AudioEncoder(config, width=width)


def _build_text_encoder(config: TextConfig, *, width: int, dropout: float) -> nn.Module:
    if config.pretrained is not None:
        return build_pretrained("text", config.pretrained, width=width)
    return TextEncoder(config, width=width, dropout=dropout)


def _build_image_encoder(config: ImageConfig, *, width: int, dropout: float) -> nn.Module:
    if config.pretrained is not None:
        return build_pretrained("image", config.pretrained, width=width)
    return build_image_encoder(config, width=width, dropout=dropout)


def gather_windows(hops: Tensor, window_starts: Tensor, window_hops: int) -> Tensor:
    """Runs of hops, one a window.

    Args:
        hops: ``(N, ...)``, one entry a hop.
        window_starts: ``(W,)`` int64, the first hop of each window.
        window_hops: hops in a window.

    Returns:
        ``(W, window_hops, ...)``; hops beyond the last repeat it and have to be masked.
    """
    index = window_starts[:, None] + torch.arange(window_hops, device=window_starts.device)
    return hops[index.clamp(max=hops.shape[0] - 1)]
