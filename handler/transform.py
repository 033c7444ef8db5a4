"""From a clip's hops to the tensors that the encoders take; the same for training and for serving.

Two steps: :meth:`Transforms.gather` gives what the hops of a clip hold, raw and small, each different content once;
:meth:`Transforms.prepare` turns a batch of that, on the model's device, into what the encoder takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
import torchaudio
from tokenizers import Tokenizer
from torch import Tensor
from torchvision.transforms.v2 import functional as vision

from handler.clip import Clip
from models.config import Modality, ModelConfig
from models.encoder_config import AudioConfig
from models.tokenizer import tokenize

LOG_FLOOR = 1e-6  # of the mel power: about -60 dB below a full-scale tone, under which a recording holds only hiss


@dataclass(frozen=True)
class HopInputs:
    """What the hops of a clip hold of one modality: U different contents, and which of them each of N hops has."""

    tensors: tuple[Tensor, ...]
    """Raw, each ``(U, ...)``: see :meth:`Transforms.gather`."""
    places: Tensor
    """``(N,)`` int64 in [0, U)."""


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

    def gather(self, modality: Modality, clip: Clip) -> HopInputs:
        """What the hops of ``clip`` hold of ``modality``.

        By modality: video ``(U, T, 3, H, W)`` uint8; audio ``(U, P)`` float32; text ``token_ids`` ``(U, S)`` int64 and
        ``token_mask`` ``(U, S)`` bool. Of video and audio each hop has its own content, U = N; of text the different
        texts count. Of a modality that the clip does not have there is one empty content, which all hops share.

        Raises:
            ValueError: the model does not have the modality, or the clip has a mask for it and no content.
        """
        num_hops = clip.schedule.num_hops
        if modality not in clip.masks:
            return HopInputs(self._empty(modality), torch.zeros(num_hops, dtype=torch.int64))
        if modality == "video" and clip.frames is not None:
            return HopInputs((torch.from_numpy(clip.frames),), torch.arange(num_hops))
        if modality == "audio" and clip.samples is not None:
            return HopInputs((torch.from_numpy(clip.samples),), torch.arange(num_hops))
        if modality == "text" and clip.texts is not None:
            rows = {text: row for row, text in enumerate(dict.fromkeys(clip.texts))}
            return HopInputs(self.text(list(rows)), torch.tensor([rows[text] for text in clip.texts]))
        raise ValueError(f"the clip has a mask for {modality} but no content")

    def prepare(self, modality: Modality, *tensors: Tensor) -> tuple[Tensor, ...]:
        """A batch of raw contents, as :meth:`gather` gives them, to the encoder's inputs.

        Runs on the tensors' device, in float32: call it outside autocast.
        """
        if modality == "video":
            return (self.video(*tensors),)
        if modality == "audio":
            return (self.audio(*tensors),)
        return tensors

    def _empty(self, modality: Modality) -> tuple[Tensor, ...]:
        """One content of a modality that is not there."""
        config = self.config
        if modality == "video" and config.video is not None:
            video = config.video
            return (torch.zeros((1, video.frames_per_hop, 3, video.size, video.size), dtype=torch.uint8),)
        if modality == "audio" and config.audio is not None:
            return (torch.zeros(1, config.hop_samples + config.audio.n_fft - config.audio.hop_length),)
        if modality == "text" and config.text is not None:
            return self.text([""])
        raise ValueError(f"this model has no {modality}")

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
