"""Image encoders, frame by frame: CLIP (arXiv 2103.00020), SigLIP (arXiv 2303.15343), DINOv2 (arXiv 2304.07193).

Each frame is one token, the encoder's own summary of it; a frame is encoded once, whatever windows it lies in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from models.pretrained.config import PretrainedConfig
from models.pretrained.encoder import PretrainedEncoder
from models.pretrained.family import Family
from models.pretrained.pictures import (
    read_image_processor,
    settle_fixed_size,
    settle_pictures,
    to_frames,
    vision_config,
)

TEXT_TOWER = ("text_model.", "text_projection.", "logit_scale", "logit_bias")


class FrameEncoder(PretrainedEncoder):
    """Frames to tokens, one each; with ``output: embedding`` to joint embeddings of length 1."""

    hops_per_batch = 4

    def extract(self, video: Tensor) -> Tensor:
        """Encode hops.

        Args:
            video: ``(N, 3, T, H, W)`` float, normalised RGB; or one picture, ``(N, 3, H, W)``.

        Returns:
            ``(N, T, F)`` float, in the order of time.
        """
        frames, num_frames = to_frames(video)
        output = self.backbone(pixel_values=frames)
        features: Tensor = output.image_embeds if "image_embeds" in output else output.pooler_output
        if self.config.output == "embedding":
            features = functional.normalize(features, dim=-1)
        return features.view(-1, num_frames, features.shape[-1])

    @property
    def blocks(self) -> tuple[nn.Module, ...]:
        """See :attr:`models.pretrained.encoder.PretrainedEncoder.blocks`."""
        backbone: Any = self.backbone
        encoder = getattr(backbone, "vision_model", backbone).encoder
        return tuple(encoder.layer if hasattr(encoder, "layer") else encoder.layers)


def _build_clip(config: PretrainedConfig, width: int) -> FrameEncoder:
    from transformers import CLIPVisionModel, CLIPVisionModelWithProjection  # noqa: PLC0415 - costs seconds

    vision = vision_config(config)
    if config.output == "embedding":
        backbone, feature_width = CLIPVisionModelWithProjection(vision), vision.projection_dim
        return FrameEncoder(backbone, config, feature_width=feature_width, width=width, unused=TEXT_TOWER)
    unused = (*TEXT_TOWER, "visual_projection.")
    return FrameEncoder(CLIPVisionModel(vision), config, feature_width=vision.hidden_size, width=width, unused=unused)


def _build_siglip(config: PretrainedConfig, width: int) -> FrameEncoder:
    from transformers import SiglipVisionModel  # noqa: PLC0415 - as above

    vision = vision_config(config)
    return FrameEncoder(
        SiglipVisionModel(vision), config, feature_width=vision.hidden_size, width=width, unused=TEXT_TOWER
    )


def _build_dinov2(config: PretrainedConfig, width: int) -> FrameEncoder:
    from transformers import Dinov2Model  # noqa: PLC0415 - as above

    vision = vision_config(config)
    return FrameEncoder(
        Dinov2Model(vision), config, feature_width=vision.hidden_size, width=width, unused=("classifier.",)
    )


def _with_text(build: Callable[[PretrainedConfig, int], PretrainedEncoder]) -> Family:
    return Family(build=build, read_processor=read_image_processor, settle=settle_fixed_size, has_embedding=True)


_FAMILIES: dict[str, Family] = {
    "clip": _with_text(_build_clip),
    "siglip": _with_text(_build_siglip),
    # It makes the positions of any grid out of those that it learned.
    "dinov2": Family(build=_build_dinov2, read_processor=read_image_processor, settle=settle_pictures),
}
FAMILIES: dict[tuple[str, str], Family] = {
    (modality, model_type): family for model_type, family in _FAMILIES.items() for modality in ("video", "image")
}
