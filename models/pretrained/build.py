"""Building a pretrained encoder from its configuration alone, with random weights."""

from __future__ import annotations

from models.pretrained.clips import FAMILIES as CLIP_FAMILIES
from models.pretrained.config import PretrainedConfig
from models.pretrained.encoder import PretrainedEncoder, architecture_of
from models.pretrained.family import Family
from models.pretrained.frames import FAMILIES as FRAME_FAMILIES
from models.pretrained.sounds import FAMILIES as SOUND_FAMILIES
from models.pretrained.torchvision_folder import FAMILIES as TORCHVISION_FAMILIES
from models.pretrained.weights import library_faults, quiet_transformers
from models.pretrained.words import FAMILIES as WORD_FAMILIES
from models.settings import SettingsError

FAMILIES: dict[tuple[str, str], Family] = {
    **FRAME_FAMILIES,
    **CLIP_FAMILIES,
    **TORCHVISION_FAMILIES,
    **SOUND_FAMILIES,
    **WORD_FAMILIES,
}
"""By modality and the ``model_type`` of the source's ``config.json``."""


def find_family(modality: str, config: PretrainedConfig, model_type: object) -> Family:
    """The family of an architecture.

    Raises:
        SettingsError: there is none for this modality, or it has no joint embedding and one is asked for.
    """
    family = FAMILIES.get((modality, str(model_type)))
    if family is None:
        known = sorted(name for of, name in FAMILIES if of == modality)
        raise SettingsError(
            f"{config.source} is of model_type {model_type!r}, which is no encoder for {modality}. "
            f"Known are {', '.join(known)}."
        )
    if config.output == "embedding" and not family.has_embedding:
        raise SettingsError(
            f"{config.source}, of model_type {model_type!r}, has no embedding that words share: "
            f"{modality}.pretrained.output must be tokens"
        )
    if config.span == "window" and not family.sees_time:
        raise SettingsError(
            f"{config.source}, of model_type {model_type!r}, sees each moment for itself: "
            f"{modality}.pretrained.span must be hop"
        )
    return family


def build_pretrained(modality: str, config: PretrainedConfig, *, width: int, **hop: int) -> PretrainedEncoder:
    """The encoder that a resolved configuration describes.

    Args:
        modality: ``video``, ``image``, ``audio`` or ``text``.
        config: with ``architecture`` and ``processor``.
        width: D, of the tokens.
        hop: of ``audio``, ``hop_samples`` and ``tokens_per_hop``.

    Raises:
        SettingsError: see :func:`find_family`; or the architecture cannot be built.
        ValueError: the source has not been read (:func:`models.pretrained.resolve.resolve_pretrained`).
    """
    model_type = architecture_of(config).get("model_type")
    family = find_family(modality, config, model_type)
    with library_faults(config.source), quiet_transformers():
        return family.build(config, width, **hop)
