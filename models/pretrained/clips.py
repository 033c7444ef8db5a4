"""Video encoders that see a hop as one clip of their own number of frames.

VideoMAE (arXiv 2203.12602), ViViT (arXiv 2103.15691), TimeSformer (arXiv 2102.05095); torchvision's are in
:mod:`models.pretrained.torchvision_folder`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from models.pretrained.config import PretrainedConfig
from models.pretrained.encoder import PretrainedEncoder
from models.pretrained.family import Family
from models.pretrained.pictures import read_image_processor, settle_fixed_size, vision_config

CLASSIFIER = ("classifier.", "fc_norm.")


class ClipEncoder(PretrainedEncoder):
    """What transformers' video encoders have in common."""

    @property
    def blocks(self) -> tuple[nn.Module, ...]:
        """See :attr:`models.pretrained.encoder.PretrainedEncoder.blocks`."""
        backbone: Any = self.backbone
        return tuple(backbone.layers if hasattr(backbone, "layers") else backbone.encoder.layer)


class StepEncoder(ClipEncoder):
    """A hop to one token for each step of time: the mean over its patches (VideoMAE, whose classifier means them)."""

    def extract(self, video: Tensor) -> Tensor:
        """Encode hops.

        Args:
            video: ``(N, 3, T, H, W)`` float, normalised RGB; T is the encoder's own number of frames.

        Returns:
            ``(N, T / tubelet_size, F)`` float, in the order of time.
        """
        settings: Any = self.backbone.config
        patches: Tensor = self.backbone(pixel_values=video.transpose(1, 2)).last_hidden_state
        steps = settings.num_frames // settings.tubelet_size
        features: Tensor = patches.unflatten(1, (steps, -1)).mean(dim=2)
        return features


class SummaryEncoder(ClipEncoder):
    """A hop to one token, the one that the encoder's own classifier reads (ViViT, TimeSformer)."""

    def extract(self, video: Tensor) -> Tensor:
        """Encode hops ``(N, 3, T, H, W)`` float, normalised RGB, to ``(N, 1, F)`` float."""
        tokens: Tensor = self.backbone(pixel_values=video.transpose(1, 2)).last_hidden_state
        return tokens[:, :1]


def _build_videomae(config: PretrainedConfig, width: int) -> PretrainedEncoder:
    from transformers import VideoMAEModel  # noqa: PLC0415 - costs seconds

    vision = vision_config(config)
    pretraining = ("decoder.", "encoder_to_decoder.", "mask_token", "position_embeddings")
    return StepEncoder(
        VideoMAEModel(vision),
        config,
        feature_width=vision.hidden_size,
        width=width,
        unused=(*CLASSIFIER, *pretraining),
    )


def _build_vivit(config: PretrainedConfig, width: int) -> PretrainedEncoder:
    from transformers import VivitModel  # noqa: PLC0415 - as above

    vision = vision_config(config)
    backbone = VivitModel(vision, add_pooling_layer=False)
    unused = (*CLASSIFIER, "pooler.", "vivit.pooler.")
    return SummaryEncoder(backbone, config, feature_width=vision.hidden_size, width=width, unused=unused)


def _build_timesformer(config: PretrainedConfig, width: int) -> PretrainedEncoder:
    from transformers import TimesformerModel  # noqa: PLC0415 - as above

    vision = vision_config(config)
    return SummaryEncoder(
        TimesformerModel(vision), config, feature_width=vision.hidden_size, width=width, unused=CLASSIFIER
    )


def _settle(config: PretrainedConfig) -> dict[str, Any]:
    return {**settle_fixed_size(config), "frames_per_hop": vision_config(config).num_frames}


def _family(build: Callable[[PretrainedConfig, int], PretrainedEncoder]) -> Family:
    return Family(build=build, read_processor=read_image_processor, settle=_settle, sees_time=True)


FAMILIES: dict[tuple[str, str], Family] = {
    ("video", "videomae"): _family(_build_videomae),
    ("video", "vivit"): _family(_build_vivit),
    ("video", "timesformer"): _family(_build_timesformer),
}
