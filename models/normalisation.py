"""Group normalisation (arXiv 1803.08494): a hop's features do not depend on the others of its batch."""

from __future__ import annotations

import math

from torch import nn

NORM_GROUPS = 8


def build_group_norm(channels: int) -> nn.GroupNorm:
    """At most ``NORM_GROUPS`` groups, as many as divide ``channels``."""
    return nn.GroupNorm(math.gcd(NORM_GROUPS, channels), channels)
