"""Image encoders, frame by frame: CLIP (arXiv 2103.00020), SigLIP (arXiv 2303.15343), DINOv2 (arXiv 2304.07193).

Each frame is one token, the encoder's own summary of it; a frame is encoded once, whatever windows it lies in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.nn import functional

from models.pretrained.config import PretrainedConfig
from models.pretrained.encoder import PretrainedEncoder, architecture_of
from models.pretrained.family import Family
from models.pretrained.pictures import read_image_processor, settle_pictures, to_frames
from models.settings import SettingsError

TEXT_TOWER = ("text_model.", "text_projection.", "logit_scale", "logit_bias")


class FrameEncoder(PretrainedEncoder):
    """Frames to tokens, one each; with ``output: embedding`` to joint embeddings of length 1."""

    def extract(self, video: Tensor) -> Tensor:
        """Encode hops.

        Args:
            video: ``(N, 3, T, H, W)`` float, normalised RGB; or one picture, ``(N, 3, H, W)``.

        Returns:
            ``(N, T, F)`` float, in the order of time.
        """
        frames, num_frames = to_frames(video)
        output = self.backbone(pixel_values=frames)
        if self.config.output == "tokens":
            features = output.pooler_output
        else:
            features = output.image_embeds if "image_embeds" in output else output.pooler_output
            features = functional.normalize(features, dim=-1)
        return features.view(-1, num_frames, features.shape[-1])


def _build_clip(config: PretrainedConfig, width: int) -> FrameEncoder:
    from transformers import CLIPVisionModel, CLIPVisionModelWithProjection  # noqa: PLC0415 - costs seconds

    vision = vision_config(config)
    if config.output == "embedding":
        backbone, feature_width = CLIPVisionModelWithProjection(vision), vision.projection_dim
        return FrameEncoder(backbone, config, feature_width=feature_width, width=width, unused=TEXT_TOWER)
    unused = (*TEXT_TOWER, "visual_projection.")
    return FrameEncoder(CLIPVisionModel(vision), config, feature_width=vision.hidden_size, width=width, unused=unused)


def vision_config(config: PretrainedConfig) -> Any:
    """The configuration of a source's vision tower: transformers' own object."""
    from transformers import CONFIG_MAPPING  # noqa: PLC0415 - as above

    architecture = dict(architecture_of(config))
    whole = CONFIG_MAPPING[architecture["model_type"]].from_dict(architecture)
    vision = getattr(whole, "vision_config", whole)
    if vision is not whole and "projection_dim" in architecture:
        vision.projection_dim = whole.projection_dim
    return vision


def _settle_fixed_size(config: PretrainedConfig) -> dict[str, Any]:
    """The processor's settings, for an encoder that knows the positions of one grid only.

    Raises:
        SettingsError: processor and encoder are of different sizes.
    """
    settled = settle_pictures(config)
    size = vision_config(config).image_size
    if settled["size"] != size:
        raise SettingsError(f"{config.source}: the processor gives {settled['size']} pixels, the encoder takes {size}")
    return settled


def _family(build: Callable[[PretrainedConfig, int], PretrainedEncoder]) -> Family:
    return Family(build=build, read_processor=read_image_processor, settle=_settle_fixed_size, has_embedding=True)


FAMILIES: dict[tuple[str, str], Family] = {
    (modality, model_type): family
    for model_type, family in {"clip": _family(_build_clip)}.items()
    for modality in ("video", "image")
}
