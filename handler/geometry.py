"""The geometry of pretrained encoders while decoding: their own resizing and cropping, from frames at native size.

It is the library's own processor, which needs torch. Where decode runs without torch somebody else provides it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from handler.picture import Geometry
from models.encoder_config import ImageConfig, VideoConfig

Provide = Callable[[VideoConfig | ImageConfig], Geometry]
"""The geometry of an encoder that is pretrained."""


def _build(config: VideoConfig | ImageConfig) -> Geometry:
    from models.pretrained.pictures import build_geometry  # noqa: PLC0415 - needs torch

    if config.pretrained is None:
        raise ValueError("the encoder is not pretrained")
    return build_geometry(config.pretrained)


_provide: ContextVar[Provide] = ContextVar("geometry", default=_build)


@contextmanager
def providing_geometry(provide: Provide) -> Iterator[None]:
    """Let this thread's :func:`geometry_of` ask ``provide``."""
    token = _provide.set(provide)
    try:
        yield
    finally:
        _provide.reset(token)


def geometry_of(config: VideoConfig | ImageConfig) -> Geometry | None:
    """A pretrained encoder's own resizing and cropping, where the model has one."""
    return None if config.pretrained is None else _provide.get()(config)
