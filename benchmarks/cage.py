"""What does the cage cost a good request?

    python -m benchmarks.cage
    python -m benchmarks.cage --media FOLDER

Each clip is answered by two pipelines of this process in turn, one that decodes in it and one whose decode runs in
children (:mod:`handler.cage`), round after round; the answers are compared first. Without ``--media`` it makes clips.
The promise: on no clip does it cost more than 5 % of the request or 10 ms, whichever is more.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.long_media import make_long_clip
from cli.package import DEMO_CHECKPOINT
from cli.progress import bar
from handler.cage.decoder import CagedDecoder
from handler.limits import HandlerSettings
from handler.pipeline import ActivityPipeline
from handler.runtime import choose_runtime
from models.checkpoint import load_checkpoint

SHARE, MILLISECONDS = 0.05, 10.0
_MAX_BYTES = 8 * 1024 * 1024
"""Larger files take long, and tell no more."""


@dataclass(frozen=True)
class Cost:
    """Of one clip, each number the median over the rounds."""

    name: str
    is_same: bool
    """Both answers are the same bytes."""
    without_ms: float
    extra_ms: float
    """Of a round with the cage and the one without it next to it."""

    @property
    def allowed_ms(self) -> float:
        """What the cage may cost."""
        return max(SHARE * self.without_ms, MILLISECONDS)


def measure(pipelines: Sequence[ActivityPipeline], name: str, clip: bytes, rounds: int) -> Cost:
    """Answer a clip in turn by the pipeline without the cage and the one with it."""
    bodies = [pipeline.respond([{"video": clip}], ["first"])[0].body for pipeline in pipelines]
    seconds: list[list[float]] = [[], []]
    for number in range(rounds):
        for place in (0, 1) if number % 2 else (1, 0):
            started = time.perf_counter()
            pipelines[place].respond([{"video": clip}], ["again"])
            seconds[place].append(time.perf_counter() - started)
    extra = [caged - plain for plain, caged in zip(*seconds, strict=True)]
    return Cost(name, bodies[0] == bodies[1], 1000 * statistics.median(seconds[0]), 1000 * statistics.median(extra))


def make_clips() -> dict[str, bytes]:
    """Clips of 5 s to a minute."""
    clips = {}
    with tempfile.TemporaryDirectory() as folder:
        for seconds, width, height in ((16, 160, 120), (16, 1280, 720), (64, 640, 360)):
            file = Path(folder) / "clip.mp4"
            make_long_clip(file, seconds, width=width, height=height, rate=25)
            clips[f"{seconds} s of {width} x {height}"] = file.read_bytes()
    return clips


def read_clips(folder: Path) -> dict[str, bytes]:
    """The files of a folder that are not too large."""
    files = sorted(file for file in folder.iterdir() if file.is_file() and file.stat().st_size <= _MAX_BYTES)
    return {file.name: file.read_bytes() for file in files if file.suffix != ".md"}


def run(clips: Mapping[str, bytes], rounds: int) -> list[Cost]:
    """Measure each clip."""
    checkpoint, runtime, settings = load_checkpoint(DEMO_CHECKPOINT), choose_runtime(), HandlerSettings()
    config = checkpoint.description.config
    decoder = CagedDecoder(config, settings.limits, runtime.threads, settings.requests_per_child)
    try:
        pipelines = [
            ActivityPipeline(checkpoint, runtime=runtime),
            ActivityPipeline(checkpoint, runtime=runtime, decoder=decoder),
        ]
        costs = []
        with bar("clips", len(clips)) as progress:
            for name, clip in clips.items():
                costs.append(measure(pipelines, name, clip, rounds))
                progress.advance(progress.task_ids[0])
    finally:
        decoder.close()
    return costs


def main() -> int:
    """Print a table; 1 where the promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--media", type=Path, help="a folder of clips; by default three that are made here")
    parser.add_argument("--rounds", type=int, default=20, help="rounds for each clip")
    arguments = parser.parse_args()
    costs = run(make_clips() if arguments.media is None else read_clips(arguments.media), arguments.rounds)
    table = Table("clip", "answers", "without, ms", "extra, ms", "extra, %", "allowed, ms", title="The cage")
    for cost in costs:
        kept = cost.is_same and cost.extra_ms <= cost.allowed_ms
        table.add_row(
            cost.name,
            "same" if cost.is_same else "[red]differ",
            f"{cost.without_ms:.1f}",
            f"{'' if kept else '[red]'}{cost.extra_ms:.1f}",
            f"{100 * cost.extra_ms / cost.without_ms:.1f}",
            f"{cost.allowed_ms:.1f}",
        )
    Console().print(table)
    return 0 if all(cost.is_same and cost.extra_ms <= cost.allowed_ms for cost in costs) else 1


if __name__ == "__main__":
    raise SystemExit(main())
