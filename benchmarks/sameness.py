"""Are the served answers the in-process ones, byte for byte?

    python -m benchmarks.sameness --data runs/held-out/manifest.jsonl --clips 50

Each clip is answered in this process, then by a TorchServe that is started for it: alone by REST, alone by gRPC, and
eight at a time by both, so that it sits in batches with others; then in this process in a batch of eight, at each of
the eight positions. Every body is compared with the first.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console
from rich.table import Table

from cli.archive import build_archive
from cli.destination import Destination
from cli.package import DEMO_CHECKPOINT
from cli.progress import bar
from cli.server import ServeSettings, end_server, start_server
from handler.pipeline import ActivityPipeline
from training.dataset import read_request
from training.manifest import ManifestEntry, read_manifest

BATCH = 8

Parts = dict[str, bytes]


def read_parts(entry: ManifestEntry) -> Parts:
    """The parts of the request that a manifest entry stands for."""
    request = read_request(entry)
    parts = {"video": request.video, "audio": request.audio, "text": request.text}
    return {name: content for name, content in parts.items() if isinstance(content, bytes)}


def compare(pipeline: ActivityPipeline, destination: Destination, clips: Sequence[Parts]) -> dict[str, int]:
    """How many answers differ from the clip's in-process one, by the way that was asked."""
    with bar("in this process", len(clips)) as progress:
        expected = []
        for parts in clips:
            expected.append(pipeline.respond([parts], ["alone"])[0].body)
            progress.advance(progress.task_ids[0])
    differing: dict[str, int] = {}
    for way, grpc, clients in (
        ("REST, alone", False, 1),
        ("gRPC, alone", True, 1),
        ("REST, 8 at a time", False, BATCH),
        ("gRPC, 8 at a time", True, BATCH),
    ):
        with ThreadPoolExecutor(clients) as pool:
            answers = pool.map(lambda parts, grpc=grpc: destination.ask(parts, {}, grpc=grpc).body, clips)
            differing[way] = _count(answers, expected, way)
    for position in range(BATCH):
        way = f"in a batch of 8, position {position + 1}"
        answers = (_answer_at(pipeline, clips, index, position) for index in range(len(clips)))
        differing[way] = _count(answers, expected, way)
    return differing


def _answer_at(pipeline: ActivityPipeline, clips: Sequence[Parts], index: int, position: int) -> bytes:
    """The body of clip ``index`` when it sits at ``position`` among the clips that follow it."""
    others = [clips[(index + step) % len(clips)] for step in range(1, BATCH)]
    batch = [*others[:position], clips[index], *others[position:]]
    return pipeline.respond(batch, [str(i) for i in range(BATCH)])[position].body


def _count(answers: Iterator[bytes], expected: Sequence[bytes], way: str) -> int:
    differing = 0
    with bar(way, len(expected)) as progress:
        for answer, wanted in zip(answers, expected, strict=True):
            differing += answer != wanted
            progress.advance(progress.task_ids[0])
    return differing


def main() -> None:
    """Compare and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="manifest of the clips")
    parser.add_argument("--clips", type=int, default=50, help="how many of them")
    parser.add_argument("--checkpoint", type=Path, default=DEMO_CHECKPOINT)
    arguments = parser.parse_args()
    clips = [read_parts(entry) for entry in read_manifest(arguments.data)[: arguments.clips]]
    with tempfile.TemporaryDirectory(prefix="activity-sameness-") as scratch:
        archive = Path(scratch) / "activity.mar"
        build_archive(arguments.checkpoint, archive)
        record = start_server(ServeSettings(archive=archive, run_dir=Path(scratch) / "run"))
        try:
            pipeline = ActivityPipeline.from_checkpoint(arguments.checkpoint)
            differing = compare(pipeline, Destination.of_record(record), clips)
        finally:
            end_server(record)
    table = Table(title=f"{len(clips)} clips against their answer in the process")
    table.add_column("way")
    table.add_column("answers", justify="right")
    table.add_column("answers that differ", justify="right")
    for way, count in differing.items():
        table.add_row(way, str(len(clips)), str(count))
    Console().print(table)


if __name__ == "__main__":
    main()
