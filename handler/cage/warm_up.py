"""What a decode child would load when it first needs it is loaded before it is forked: it can open no file."""

from __future__ import annotations

import datetime as dt
import importlib
import io
import pkgutil
from contextlib import suppress
from typing import Any

import av
import numpy as np

from handler.errors import ActivityError
from handler.geometry import providing_geometry
from handler.limits import Limits
from handler.options import RequestOptions
from handler.picture import Geometry
from handler.recordings.pieces import ModalityFailed, decode_pieces
from handler.request import ActivityRequest
from models.config import ModelConfig
from models.encoder_config import ImageConfig, VideoConfig

_WORDS = b"WEBVTT\n\n00:00.000 --> 00:01.000\n<b>warm</b> &amp; up\n"
_RATE = 16_000
_LATE_MODULES = ("numpy.ma", "encodings.utf_8_sig", "encodings.utf_16_le")
"""What is imported by the first call of some function."""


def warm_up(config: ModelConfig) -> None:
    """Decode once what the model takes, and import what other files would need.

    The limits are the usual ones: with those of a service, which may be narrow, some of it might not be reached.

    Args:
        config: the model's.
    """
    for module in pkgutil.walk_packages(av.__path__, "av."):  # some are imported by the first stream of their kind
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in _LATE_MODULES:
        importlib.import_module(name)
    tables = {name: _table() for name in config.vectors} | ({"tabular": _table()} if config.tabular else {})
    request = ActivityRequest(
        video=_movie(),
        audio=None,
        text=_WORDS,
        options=RequestOptions(),
        image=_movie("gif", "gif", sound=False),
        tabular=tables.pop("tabular", None),
        depth=_movie(sound=False),
        vectors=tables,
    )
    with (
        providing_geometry(_no_geometry),
        suppress(ActivityError, ModalityFailed),
        decode_pieces(request, config, Limits(), hops_per_piece=1) as opened,
    ):
        for _ in opened.pieces:
            pass


def _no_geometry(config: VideoConfig | ImageConfig) -> Geometry:
    """The worker's is not asked for."""
    return lambda _picture: np.zeros((3, config.size, config.size), dtype=np.uint8)


def _movie(container: str = "mov", codec: str = "mpeg4", *, sound: bool = True) -> bytes:
    """Two frames, and as much silence."""
    file = io.BytesIO()
    with av.open(file, mode="w", format=container) as output:
        picture: Any = output.add_stream(codec, rate=2)
        picture.width = picture.height = 64
        picture.pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
        voice: Any = output.add_stream("pcm_s16le", rate=_RATE, layout="mono") if sound else None
        for place in range(2):
            frame = av.VideoFrame(64, 64, picture.pix_fmt)
            frame.pts = place
            output.mux(picture.encode(frame))
        output.mux(picture.encode(None))
        if voice is not None:
            silence = av.AudioFrame.from_ndarray(np.zeros((1, _RATE), np.int16), format="s16", layout="mono")
            silence.sample_rate, silence.pts = _RATE, 0
            output.mux(voice.encode(silence))
            output.mux(voice.encode(None))
    return file.getvalue()


def _table() -> bytes:
    """A row with a value of each kind that is converted by a module of its own."""
    import pyarrow as pa  # noqa: PLC0415 - 50 MB of memory that most models never need
    from pyarrow import parquet  # noqa: PLC0415

    moment = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
    columns = {"number": [1.0], "category": ["a"], "moment": pa.array([moment], pa.timestamp("us", tz="UTC"))}
    file = io.BytesIO()
    parquet.write_table(pa.table(columns), file)
    return file.getvalue()
