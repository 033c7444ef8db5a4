"""A tiny model of all seven modalities."""

from __future__ import annotations

from models.encoder_config import DepthConfig, ImageConfig, NumericColumn, TabularConfig, VectorConfig
from tests.models.tiny_config import TINY

EVERY = TINY.model_copy(
    update={
        "image": ImageConfig(size=16, channels=(4, 8)),
        "tabular": TabularConfig(
            numeric={"guests": NumericColumn(mean=100.0, std=50.0), "hour": NumericColumn(mean=12.0, std=6.0)},
            categorical={"place": ("field", "hall")},
            hidden=8,
            embedding_width=4,
        ),
        "depth": DepthConfig(frames_per_hop=2, size=16, tubelet_frames=1, patch_size=8, depth=1, heads=2),
        "vectors": {"imu": VectorConfig(channels=3, rate_hz=20, hidden=(4, 8), mean=(0.0,) * 3, std=(1.0,) * 3)},
    }
)
