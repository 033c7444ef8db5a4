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


class Augmenter:
    """Changes a batch of runs at random; draws from torch's global generator, and from none where nothing is asked.

    Args:
        config: the recipe's section.
        model: the model that is trained, which says how sound is cut into hops.

    Raises:
        SettingsError: when a modality is to be augmented that the model does not have.
    """

    def __init__(self, config: AugmentationConfig, model: ModelConfig) -> None:
        single = [name for name in AugmentationConfig.model_fields if name != "vectors"]
        asked = {name for name in single if getattr(config, name) is not None} | set(config.vectors)
        unknown = asked - set(model.modalities)
        if unknown:
            raise SettingsError(
                f"augmentation is of {', '.join(sorted(unknown))}, which the model does not have. "
                f"Its modalities: {', '.join(model.modalities)}."
            )
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
        if modality != "audio" or self.config.audio is None or audio is None:
            return tensors
        runs = tensors[0].unflatten(0, (masks.shape[0], masks.shape[1]))
        return (augment_spectrogram(runs, masks, self.config.audio, audio).flatten(0, 1),)
