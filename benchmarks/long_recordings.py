"""Does the memory of a worker grow with the length of a recording?

    python -m benchmarks.long_recordings --minutes 1 10 60
    python -m benchmarks.long_recordings --minutes 1 10 60 --server

Recordings of 160 x 120 pixels, 10 frames a second, with sound, of which each is answered by a process of its own, once
a short one has warmed it up: line by line (``stream``), as one answer, and, up to 10 minutes, as one answer with the
recording decoded at once. With ``--server`` by the one worker of a TorchServe that is started for it: line by line, and
as a stream of chunks of 20 seconds, as ``activity predict`` sends what is long.
What is told of memory is what the process had beyond what it had before the request: the most of it, and, with lines,
what it had when the first one came. Then the file is open: its bytes and its packets are there, which grow with it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Literal, get_args

import httpx
from rich.console import Console
from rich.table import Table

from benchmarks.long_media import make_long_clip
from cli.archive import build_archive
from cli.long_files import CHUNK_SECONDS
from cli.package import DEMO_CHECKPOINT
from cli.record import ServerRecord
from cli.server import ServeSettings, end_server, start_server
from client.cutting import cut_file
from client.rest import RestClient
from client.stream import ActivityStream

Way = Literal["stream", "answer", "at once"]
Sent = Literal["chunks", "stream"]

WARM_UP_SECONDS = 64
LONGEST_AT_ONCE_MINUTES = 10.0


@dataclass(frozen=True)
class Measured:
    """What a recording cost."""

    way: str
    minutes: float
    request_megabytes: float
    peak_megabytes: float
    """Beyond what the process had before; the request is part of it."""
    open_megabytes: float | None
    """The same when the first line of a streamed answer had come: the request and its packets, which are known then."""
    seconds: float
    processor_seconds: float
    num_windows: int


class Memory:
    """Resident memory of a process, as Linux says it.

    Args:
        pid: of the process.
    """

    def __init__(self, pid: int | Literal["self"] = "self") -> None:
        self._folder = Path("/proc") / str(pid)

    def megabytes(self, *, peak: bool = False) -> float:
        """What it has; with ``peak`` the most that it had since :meth:`forget_peak`."""
        status = (self._folder / "status").read_text(encoding="utf-8")
        found = re.search(rf"^{'VmHWM' if peak else 'VmRSS'}:\s+(\d+) kB", status, flags=re.MULTILINE)
        if found is None:
            raise RuntimeError("the system does not say how much memory a process has")
        return int(found[1]) * 1024 / 1e6

    def processor_seconds(self) -> float:
        """What its threads have computed since it began."""
        fields = (self._folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def forget_peak(self) -> None:
        """Let the peak be what the process has now."""
        (self._folder / "clear_refs").write_text("5", encoding="utf-8")


def read_lines(lines: Iterable[bytes | str], opened: Callable[[], None]) -> int:
    """The windows of a streamed answer, of which nothing is kept; ``opened`` is called after its first line.

    Raises:
        RuntimeError: the answer has no end.
    """
    num_windows, last = 0, {}
    for place, line in enumerate(lines):
        if place == 1:
            opened()
        last = json.loads(line)
        num_windows += last["type"] == "window"
    if last.get("type") != "end":
        raise RuntimeError(f"the answer ends with {last}")
    return num_windows


def measure_here(path: Path, minutes: float, way: Way, warm_up: Path) -> Measured:
    """Answer a recording in this process, whose first it is."""
    from handler import pipeline as pipeline_module  # noqa: PLC0415 - it takes what a server's worker has
    from handler.limits import Limits  # noqa: PLC0415

    limits = Limits(max_duration_seconds=1e6, max_streamed_seconds=1e6)
    pipeline = pipeline_module.ActivityPipeline.from_checkpoint(DEMO_CHECKPOINT, limits=limits)
    if way == "at once":
        setattr(pipeline_module, "HOPS_PER_PIECE", sys.maxsize)  # noqa: B010 - it is imported there
    options = json.dumps({"extras": ["windows"], "stream": way == "stream"}).encode()

    def answer(file: Path, opened: Callable[[], None]) -> int:
        raw = {"video": file.read_bytes(), "options": options}
        ((response, _),) = pipeline.respond_measured([raw], ["1"], streamable=[0])
        if response.rest is None:
            return len(json.loads(response.body)["windows"])
        return read_lines(
            (line for piece in chain((response.body,), response.rest) for line in piece.splitlines()), opened
        )

    answer(warm_up, lambda: None)
    return _measure(Memory(), partial(answer, path), path, minutes, way)


def measure_server(record: ServerRecord, path: Path, minutes: float, way: Sent) -> Measured:
    """Have a recording answered by the worker of a server: as one request, line by line, or as a stream of chunks."""
    tokens = record.tokens()
    managed = httpx.get(
        f"{record.management_url}/models/{record.model}", headers={"Authorization": f"Bearer {tokens.management}"}
    )
    (worker,) = managed.json()[0]["workers"]

    def answer_lines(opened: Callable[[], None]) -> int:
        files = {"video": ("video.mp4", path.read_bytes(), "video/mp4")}
        form = {"options": json.dumps({"extras": ["windows"], "stream": True})}
        url, headers = (
            f"{record.inference_url}/predictions/{record.model}",
            {"Authorization": f"Bearer {tokens.inference}"},
        )
        with httpx.stream("POST", url, files=files, data=form, headers=headers, timeout=600.0) as response:
            return read_lines(response.iter_lines(), opened)

    def answer_chunks(_: Callable[[], None]) -> int:
        with RestClient(record.inference_url, model=record.model, token=tokens.inference) as client:
            stream = ActivityStream(client, {"extras": ["windows"]}, keeps_windows=False)
            answers = (stream.send(chunk) for chunk in cut_file(str(path), CHUNK_SECONDS))
            return sum(window["final"] for answer in answers for window in answer.windows)

    answer = answer_lines if way == "stream" else answer_chunks
    return _measure(Memory(int(worker["pid"])), answer, path, minutes, f"server, {way}")


def _measure(
    memory: Memory, answer: Callable[[Callable[[], None]], int], path: Path, minutes: float, way: str
) -> Measured:
    idle = memory.megabytes()
    memory.forget_peak()
    started, spent = time.perf_counter(), memory.processor_seconds()
    at_opening: list[float] = []
    num_windows = answer(lambda: at_opening.append(memory.megabytes() - idle))
    return Measured(
        way=way,
        minutes=minutes,
        request_megabytes=path.stat().st_size / 1e6,
        peak_megabytes=memory.megabytes(peak=True) - idle,
        open_megabytes=at_opening[0] if at_opening else None,
        seconds=time.perf_counter() - started,
        processor_seconds=memory.processor_seconds() - spent,
        num_windows=num_windows,
    )


def _measure_apart(path: Path, minutes: float, way: Way, warm_up: Path) -> Measured:
    """A process for one recording, since none shrinks to what it was."""
    command = [sys.executable, "-m", "benchmarks.long_recordings", "--one", str(path), "--way", way]
    command += ["--minutes", str(minutes), "--warm-up", str(warm_up)]
    found = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - our own
    return Measured(**json.loads(found.stdout))


def measure_all(minutes: Sequence[float], *, server: bool, console: Console) -> list[Measured]:
    """Make the recordings and have them answered, one after the other."""
    results: list[Measured] = []
    with tempfile.TemporaryDirectory() as folder:
        warm_up = Path(folder) / "warm-up.mp4"
        make_long_clip(warm_up, WARM_UP_SECONDS)
        files = {each: Path(folder) / f"{each:g}.mp4" for each in minutes}
        for each, path in files.items():
            make_long_clip(path, each * 60)
        if server:
            archive = Path(folder) / "activity.mar"
            build_archive(DEMO_CHECKPOINT, archive, name="activity", version="1.0")
            record = start_server(ServeSettings(archive=archive, run_dir=Path(folder) / "run", workers=1))
            try:
                for sent in get_args(Sent):  # what grows less comes first: a process keeps what it had
                    measure_server(record, warm_up, WARM_UP_SECONDS / 60, sent)
                    for each, path in files.items():
                        results.append(measure_server(record, path, each, sent))
                        console.print(results[-1])
            finally:
                end_server(record)
            return results
        for each, path in files.items():
            for way in get_args(Way):
                if way != "at once" or each <= LONGEST_AT_ONCE_MINUTES:
                    results.append(_measure_apart(path, each, way, warm_up))
                    console.print(results[-1])
    return results


def main() -> None:
    """Print a table, a row for each recording and way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, nargs="+", default=[1.0, 10.0, 60.0])
    parser.add_argument("--server", action="store_true")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--way", choices=get_args(Way), help=argparse.SUPPRESS)
    parser.add_argument("--warm-up", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one is not None:
        measured = measure_here(arguments.one, arguments.minutes[0], arguments.way, arguments.warm_up)
        json.dump(asdict(measured), sys.stdout)
        return
    console = Console(stderr=True)
    table = Table("way", "minutes", "windows", "request MB", "open MB", "peak MB", "seconds", "CPU s")
    for each in measure_all(arguments.minutes, server=arguments.server, console=console):
        table.add_row(
            each.way,
            f"{each.minutes:g}",
            str(each.num_windows),
            f"{each.request_megabytes:.1f}",
            "" if each.open_megabytes is None else f"{each.open_megabytes:.1f}",
            f"{each.peak_megabytes:.1f}",
            f"{each.seconds:.1f}",
            f"{each.processor_seconds:.1f}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
