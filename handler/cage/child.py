"""A decode child: it confines itself, and decodes the requests that it is sent until it is killed.

What it cannot do for want of torch it asks the worker to do: a pretrained encoder's geometry, and hearing words.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import traceback
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handler.cage.values import (
    chunk_values,
    clip_values,
    cues_values,
    errors_of,
    request_of,
    schedule_values,
    statuses_values,
    waveform_values,
    words_of,
)
from handler.cage.wire import Channel, WireError
from handler.clip import Waveform, Words
from handler.errors import ActivityError, error_of_values
from handler.geometry import providing_geometry
from handler.limits import Limits
from handler.looks import look_at
from handler.picture import Geometry
from handler.recordings.pieces import ModalityFailed, decode_pieces
from handler.sources import out_of_memory
from handler.stream.chunk import decode_chunk
from handler.stream.options import ChunkOptions
from handler.stream.state import StreamState
from models.config import Modality, ModelConfig
from models.encoder_config import ImageConfig, VideoConfig

_MAX_TRACE = 8_000
"""Characters of what is said of a defect."""
_PR_SET_PDEATHSIG, _PR_SET_NAME, _PR_SET_NO_NEW_PRIVS = 1, 15, 38
_libc = ctypes.CDLL(None, use_errno=True)


def name_process(name: bytes) -> None:
    """What ``ps`` and ``top`` call this process: at most 15 bytes."""
    _libc.prctl(_PR_SET_NAME, name, 0, 0, 0)


def confine(limits: Limits, parent: int) -> None:
    """Take from this process what decoding does not need. Nothing gives it back.

    Args:
        limits: says how much memory it may take.
        parent: id of the process that this one may not outlive.
    """
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before
        os._exit(1)
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    held_bytes = int(Path("/proc/self/statm").read_text("ascii").split()[0]) * resource.getpagesize()
    for what, most in (
        (resource.RLIMIT_AS, held_bytes + limits.max_decode_bytes),
        (resource.RLIMIT_FSIZE, limits.max_decode_bytes),  # of what it gives back
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 0),  # those that are open stay so
    ):
        resource.setrlimit(what, (most, most))


def decode_all(channel: Channel, config: ModelConfig) -> None:
    """Decode what comes, one request after the other, and say what each came to.

    Args:
        channel: to the worker.
        config: the model's.

    Raises:
        WireError: the worker is gone.
    """
    while True:
        _decode_one(channel, config)


def _decode_one(channel: Channel, config: ModelConfig) -> None:
    kind, values = channel.receive()
    task = _Task(channel, config, Limits.model_validate(values["limits"]))
    try:
        with providing_geometry(task.geometry):
            getattr(task, kind)(values)
    except ActivityError as error:
        channel.send("error", error.values)
    except ModalityFailed as failure:
        channel.send("failed", {"modality": failure.modality, "error": failure.error.values})
    except MemoryError:
        channel.send("error", out_of_memory().values)
    except WireError:
        raise
    except Exception:  # noqa: BLE001 - a defect of ours: the worker logs it
        channel.send("defect", {"trace": traceback.format_exc()[-_MAX_TRACE:]})


class _Task:
    """What the worker asks for, by the kind of its question."""

    def __init__(self, channel: Channel, config: ModelConfig, limits: Limits) -> None:
        self._channel = channel
        self._config = config
        self._limits = limits

    def pieces(self, values: dict[str, Any]) -> None:
        """A recording, piece by piece as the worker asks for them."""
        channel = self._channel
        with decode_pieces(
            request_of(values),
            self._config,
            self._limits,
            hops_per_piece=values["hops_per_piece"],
            transcribe=self._hear if values["transcribe"] else None,
            failed=errors_of(values["failed"]),
            on_length=self._lasts,
        ) as opened:
            channel.send(
                "opened",
                {
                    "schedule": schedule_values(opened.schedule),
                    "modalities": statuses_values(opened.modalities),
                    "transcript": cues_values(opened.transcript),
                },
            )
            for piece in opened.pieces:
                channel.receive()
                channel.send("piece", {"first_hop": piece.first_hop, "clip": clip_values(piece.clip)})
                del piece  # its memory is the next one's

    def chunk(self, values: dict[str, Any]) -> None:
        """A stream's next chunk."""
        state = None if values["state"] is None else StreamState.of_values(values["state"])
        options = ChunkOptions.model_validate(values["chunk"])
        request = request_of(values)
        decoded = decode_chunk(request, options, self._config, self._limits, state, on_length=self._lasts)
        self._channel.send("chunk", chunk_values(decoded))

    def pictures(self, values: dict[str, Any]) -> None:
        """What is seen at some times, as the worker asks for them."""
        channel = self._channel
        for picture in look_at(request_of(values), values["seconds"], self._limits):
            channel.send("picture", {"picture": picture})
            channel.receive()
        channel.send("end", {})

    def geometry(self, config: VideoConfig | ImageConfig) -> Geometry:
        """The worker's geometry of an encoder."""
        mine = self._config
        named: dict[Modality, Any] = {"video": mine.video, "depth": mine.depth, "image": mine.image}
        name = next(name for name, it in named.items() if it is config)

        def apply(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
            made: NDArray[np.uint8] = self._call("geometry", {"modality": name, "picture": picture})["picture"]
            return made

        return apply

    def _hear(self, waveform: Waveform) -> Words:
        return words_of(self._call("hear", waveform_values(waveform)))

    def _lasts(self, seconds: float) -> None:
        self._call("lasts", {"seconds": seconds})

    def _call(self, name: str, values: dict[str, Any]) -> dict[str, Any]:
        """Let the worker do something.

        Raises:
            ActivityError: it says so.
        """
        self._channel.send(name, values)
        kind, answer = self._channel.receive()
        if kind == "error":
            raise error_of_values(answer)
        return answer
