"""From a clip's hops to the tensors that the encoders take; the same for training and for serving.

Two steps: :meth:`Transforms.gather` gives what the hops of a clip hold, raw and small, each different content once;
:meth:`Transforms.prepare` turns a batch of that, on the model's device, into what the encoder takes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self, TypeVar

import torch
import torchaudio
from tokenizers import Tokenizer
from torch import Tensor
from torchvision.transforms.v2 import functional as vision

from handler.clip import Clip, Row
from models.config import Modality, ModelConfig
from models.encoder_config import AudioConfig, ImageConfig, VideoConfig
from models.pretrained.sounds import SoundFeatures
from models.pretrained.words import tokenize_whole
from models.tokenizer import tokenize

Config = TypeVar("Config")

MAX_DEVIATIONS = 1e4
"""Standard deviations at which a number is cut: far beyond what any encoder tells apart, and no float16 overflows."""

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
        self._mel, self._sounds = None, None
        if config.audio is not None and config.audio.pretrained is not None:
            self._sounds = SoundFeatures(config.audio.pretrained)
        elif config.audio is not None:
            self._mel = _mel_spectrogram(config.audio)

    def to(self, device: torch.device) -> Self:
        """Move what the transforms hold to ``device``."""
        if self._mel is not None:
            self._mel.to(device)
        return self

    def gather(self, modality: Modality, clip: Clip) -> HopInputs:
        """What the hops of ``clip`` hold of ``modality``, raw.

        ::

            video     (U, T, 3, H, W) uint8                            U = N, each hop has its own
            depth     (U, T, 1, H, W) uint8                            U = N
            audio     (U, P) float32                                   U = N
            vectors   (U, R, C) float32                                U = N
            text      (U, S) int64 ids and (U, S) bool, True = a token U different texts
            image     (U, 3, H, W) uint8                               U = 1
            tabular   (U, Cn) float32, NaN = missing, and (U, Cc) int64, 0 = unknown or missing; U = 1

        Of a modality that the clip does not have there is one empty content, which all hops share.

        Raises:
            ValueError: the model does not have the modality, or the clip has a mask for it and no content.
        """
        num_hops = clip.schedule.num_hops
        if modality not in clip.masks:
            return HopInputs(self._empty(modality), torch.zeros(num_hops, dtype=torch.int64))
        if modality == "text" and clip.texts is not None:
            rows = {text: row for row, text in enumerate(dict.fromkeys(clip.texts))}
            return HopInputs(self.text(list(rows)), torch.tensor([rows[text] for text in clip.texts]))
        if modality == "image" and clip.image is not None:
            return HopInputs((torch.from_numpy(clip.image)[None],), torch.zeros(num_hops, dtype=torch.int64))
        if modality == "tabular" and clip.row is not None:
            return HopInputs(self.row(clip.row), torch.zeros(num_hops, dtype=torch.int64))
        timed = {"video": clip.frames, "audio": clip.samples, "depth": clip.depth}
        hops = timed[modality] if modality in timed else clip.vectors.get(modality)
        if hops is None:
            raise ValueError(f"the clip has a mask for {modality} but no content")
        return HopInputs((torch.from_numpy(hops),), torch.arange(num_hops))

    def prepare(self, modality: Modality, *tensors: Tensor) -> tuple[Tensor, ...]:
        """A batch of raw contents, as :meth:`gather` gives them, to the encoder's inputs.

        Runs on the tensors' device, in float32: call it outside autocast.
        """
        if modality == "text":
            return tensors
        if modality == "tabular":
            return self.tabular(*tensors)
        steps = {"video": self.video, "audio": self.audio, "image": self.image, "depth": self.depth}
        if modality in steps:
            return (steps[modality](*tensors),)
        return (self.vector(modality, *tensors),)

    def _empty(self, modality: Modality) -> tuple[Tensor, ...]:
        """One content of a modality that is not there: zeros, words without any, a row without a value."""
        config = self.config
        if modality == "text" and config.text is not None:
            return self.text([""])
        if modality == "tabular" and config.tabular is not None:
            return self.row({})
        if modality == "audio" and config.audio is not None:
            return (torch.zeros(1, config.hop_samples + config.audio.context_samples),)
        if modality in config.vectors:
            vector = config.vectors[modality]
            return (torch.zeros(1, vector.rows_per_hop(config.windows.stride_seconds), vector.channels),)
        shapes: dict[Modality, tuple[int, ...]] = {}
        if config.video is not None:
            shapes["video"] = (1, config.video.frames_per_hop, 3, config.video.size, config.video.size)
        if config.depth is not None:
            shapes["depth"] = (1, config.depth.frames_per_hop, 1, config.depth.size, config.depth.size)
        if config.image is not None:
            shapes["image"] = (1, 3, config.image.size, config.image.size)
        if modality in shapes:
            return (torch.zeros(shapes[modality], dtype=torch.uint8),)
        raise ValueError(f"this model has no {modality}")

    def video(self, frames: Tensor) -> Tensor:
        """Frames ``(N, T, 3, H, W)`` uint8 to normalised RGB ``(N, 3, T, H, W)`` float32."""
        return _normalised(frames, self._configured("video", self.config.video)).transpose(1, 2)

    def depth(self, frames: Tensor) -> Tensor:
        """Frames ``(N, T, 1, H, W)`` uint8 to normalised depth ``(N, 1, T, H, W)`` float32."""
        return _normalised(frames, self._configured("depth", self.config.depth)).transpose(1, 2)

    def image(self, images: Tensor) -> Tensor:
        """Pictures ``(N, 3, H, W)`` uint8 to normalised RGB float32 of the same shape."""
        return _normalised(images, self._configured("image", self.config.image))

    def audio(self, samples: Tensor) -> Tensor:
        """Hops of samples ``(N, P)`` float32 to normalised log-mel ``(N, F, M)`` float32.

        For a pretrained encoder to what its own extractor makes of them (:mod:`models.pretrained.sounds`).
        """
        if self._sounds is not None:
            return self._sounds(samples)
        if self._mel is None or self.config.audio is None:
            raise ValueError("this model has no audio")
        power: Tensor = self._mel(samples)
        return (power.clamp(min=LOG_FLOOR).log() - self.config.audio.mean) / self.config.audio.std

    def text(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Texts to ``token_ids`` ``(N, S)`` int64 and ``token_mask`` ``(N, S)`` bool."""
        if self.tokenizer is None or self.config.text is None:
            raise ValueError("this model has no text")
        if self.config.text.pretrained is not None:
            return tokenize_whole(self.tokenizer, texts, self.config.text.pretrained, self.config.text.max_tokens)
        return tokenize(self.tokenizer, texts, self.config.text.max_tokens)

    def row(self, row: Row) -> tuple[Tensor, Tensor]:
        """One row's numbers ``(1, Cn)`` float32, NaN = missing, and categories ``(1, Cc)`` int64, 0 = unknown."""
        config = self._configured("tabular", self.config.tabular)
        numbers = [row.get(name) for name in config.numeric]
        places = [
            values.index(row[name]) + 1 if row.get(name) in values else 0 for name, values in config.categorical.items()
        ]
        return (
            torch.tensor([[math.nan if number is None else float(number) for number in numbers]]),
            torch.tensor([places], dtype=torch.int64),
        )

    def tabular(self, numbers: Tensor, categories: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Normalised, bounded numbers ``(N, Cn)`` float32, 0 where missing; which are there, bool; categories."""
        columns = self._configured("tabular", self.config.tabular).numeric.values()
        mean, std = ([getattr(column, name) for column in columns] for name in ("mean", "std"))
        present = numbers.isfinite()
        normalised = (numbers - numbers.new_tensor(mean)) / numbers.new_tensor(std)
        bounded = normalised.clamp(-MAX_DEVIATIONS, MAX_DEVIATIONS)
        return bounded.masked_fill(~present, 0.0), present, categories

    def vector(self, modality: Modality, rows: Tensor) -> Tensor:
        """Rows ``(N, R, C)`` float32 to normalised ones; as they are where no statistics have been learned."""
        config = self._configured(modality, self.config.vectors.get(modality))
        centred = rows if config.mean is None else rows - rows.new_tensor(config.mean)
        scaled = centred if config.std is None else centred / rows.new_tensor(config.std)
        return scaled.clamp(-MAX_DEVIATIONS, MAX_DEVIATIONS)

    def _configured(self, modality: Modality, config: Config | None) -> Config:
        if config is None:
            raise ValueError(f"this model has no {modality}")
        return config


def _normalised(pictures: Tensor, config: VideoConfig | ImageConfig) -> Tensor:
    """uint8 ``(..., C, H, W)`` to float32 in units of the configured standard deviation."""
    scaled = vision.to_dtype(pictures, torch.float32, scale=True)
    normalised: Tensor = vision.normalize(scaled, list(config.mean), list(config.std))
    return normalised


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
