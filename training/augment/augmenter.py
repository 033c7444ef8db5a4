"""All augmentation of a training step, by modality."""

from __future__ import annotations

from torch import Tensor

from models.config import Modality, ModelConfig
from models.settings import SettingsError
from training.augment.audio import augment_samples
from training.augment.config import AugmentationConfig
from training.augment.pictures import augment_pictures
from training.augment.spectrogram import augment_spectrogram
from training.augment.text import drop_words
from training.augment.vectors import augment_vectors

SPECTROGRAM = ("time_masks", "frequency_masks", "stretch", "equaliser_db", "shift_bins")
"""The settings of sound that change the log-mel spectrogram."""


class Augmenter:
    """Changes a batch of runs at random; draws from torch's global generator, and from none where nothing is asked.

    Args:
        config: the recipe's section.
        model: the model that is trained, which says how sound is cut into hops.

    Raises:
        SettingsError: when a modality is to be augmented that the model does not have, or in a way that its pretrained
            encoder does not bear.
    """

    def __init__(self, config: AugmentationConfig, model: ModelConfig) -> None:
        unknown = config.modalities - set(model.modalities)
        if unknown:
            raise SettingsError(
                f"augmentation is of {', '.join(sorted(unknown))}, which the model does not have. "
                f"Its modalities: {', '.join(model.modalities)}."
            )
        _check_pretrained(config, model)
        self.config = config
        self.model_config = model

    def raw(self, modality: Modality, tensors: tuple[Tensor, ...], masks: Tensor) -> tuple[Tensor, ...]:
        """Augment what :class:`training.dataset.RunBatch` holds of a modality, before the transforms.

        Args:
            modality: its name.
            tensors: each ``(C, R, ...)``; they are not changed in place.
            masks: ``(C, R)`` bool, True where the hop has the modality; the other hops stay as they are, but for a
                picture's, which is one a run.

        Returns:
            Tensors of the same shapes and dtypes; the very same ones where nothing is asked.
        """
        config = self.config
        track = {"video": config.video, "depth": config.depth}.get(modality)
        if track is not None:
            return (augment_pictures(tensors[0], masks, track),)
        if modality == "image" and config.image is not None:
            anywhere = masks.any(dim=1, keepdim=True).expand_as(masks)  # one picture a run, beyond its clip's end too:
            return (augment_pictures(tensors[0][:, :, None], anywhere, config.image)[:, :, 0],)  # encoded but once
        if modality == "audio" and config.audio is not None and self.model_config.audio is not None:
            audio = self.model_config.audio
            return (augment_samples(tensors[0], masks, config.audio, audio, hop_samples=self.model_config.hop_samples),)
        if modality == "text" and config.text is not None:
            return drop_words(tensors[0], tensors[1], masks, config.text)
        if modality in config.vectors:
            return (augment_vectors(tensors[0], masks, config.vectors[modality]),)
        return tensors

    def prepared(self, modality: Modality, tensors: tuple[Tensor, ...], masks: Tensor) -> tuple[Tensor, ...]:
        """Augment what the transforms give to the encoder: sound's log-mel spectrogram.

        Args:
            modality: its name.
            tensors: each ``(C * R, ...)``, the hops of one run after the other, as the encoder takes them.
            masks: ``(C, R)`` bool, as for :meth:`raw`.
        """
        audio = self.model_config.audio
        if modality != "audio" or self.config.audio is None or audio is None or audio.pretrained is not None:
            return tensors
        runs = tensors[0].unflatten(0, (masks.shape[0], masks.shape[1]))
        return (augment_spectrogram(runs, masks, self.config.audio, audio).flatten(0, 1),)


def _check_pretrained(config: AugmentationConfig, model: ModelConfig) -> None:
    """Refuse what is made for our own log-mel spectrogram, and for texts without special tokens."""
    if config.audio is not None and model.audio is not None and model.audio.pretrained is not None:
        asked = [name for name in SPECTROGRAM if getattr(config.audio, name)]
        if asked:
            raise SettingsError(
                f"augmentation.audio has {', '.join(asked)}, which changes our own spectrogram: a pretrained encoder "
                "makes another. Leave it out; noise, gain_db, polarity and shift_seconds change the samples."
            )
    if config.text is not None and model.text is not None and model.text.pretrained is not None:
        raise SettingsError(
            "augmentation.text leaves tokens out, a pretrained encoder's special ones too: leave out augmentation.text"
        )
