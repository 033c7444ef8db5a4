"""From a clip's hops to the tensors that the encoders take; the same for training and for serving."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
import torchaudio
from tokenizers import Tokenizer
from torch import Tensor
from torchvision.transforms.v2 import functional as vision

from models.config import ModelConfig
from models.encoder_config import AudioConfig
from models.tokenizer import tokenize

LOG_FLOOR = 1e-6  # of the mel power: about -60 dB below a full-scale tone, under which a recording holds only hiss


class Transforms:
    """The transforms of one model.

    Args:
        config: the model's configuration.
        tokenizer: its tokenizer; needed where the model has text.
    """

    def __init__(self, config: ModelConfig, tokenizer: Tokenizer | None) -> None:
        if config.text is not None and tokenizer is None:
            raise ValueError("a model with text needs its tokenizer")
        self.config = config
        self.tokenizer = tokenizer
        self._mel = None if config.audio is None else _mel_spectrogram(config.audio)

    def to(self, device: torch.device) -> Self:
        """Move what the transforms hold to ``device``."""
        if self._mel is not None:
            self._mel.to(device)
        return self

    def video(self, frames: Tensor) -> Tensor:
        """Frames ``(N, T, 3, H, W)`` uint8 to normalised RGB ``(N, 3, T, H, W)`` float32."""
        config = self.config.video
        if config is None:
            raise ValueError("this model has no video")
        scaled = vision.to_dtype(frames, torch.float32, scale=True)
        normalised = vision.normalize(scaled, list(config.mean), list(config.std))
        channels_first: Tensor = normalised.transpose(1, 2)
        return channels_first

    def audio(self, samples: Tensor) -> Tensor:
        """Hops of samples ``(N, P)`` float32 to normalised log-mel ``(N, F, M)`` float32."""
        if self._mel is None or self.config.audio is None:
            raise ValueError("this model has no audio")
        power: Tensor = self._mel(samples)
        return (power.clamp(min=LOG_FLOOR).log() - self.config.audio.mean) / self.config.audio.std

    def text(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Texts to ``token_ids`` ``(N, S)`` int64 and ``token_mask`` ``(N, S)`` bool."""
        if self.tokenizer is None or self.config.text is None:
            raise ValueError("this model has no text")
        return tokenize(self.tokenizer, texts, self.config.text.max_tokens)


def _mel_spectrogram(config: AudioConfig) -> torchaudio.transforms.MelSpectrogram:
    return torchaudio.transforms.MelSpectrogram(
        sample_rate=config.sample_rate,
        n_fft=config.n_fft,
        hop_length=config.hop_length,
        n_mels=config.n_mels,
        center=False,  # the hop brings its own context
        norm="slaney",
        mel_scale="slaney",
    )
