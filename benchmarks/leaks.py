"""Thousands of good and bad requests: does a worker grow with them?

    python -m benchmarks.leaks                                  # 10,000 requests to a server of its own
    python -m benchmarks.leaks --requests 2000 --leak memory    # a control, which must be found: exit code 1
    python -m benchmarks.leaks --here --requests 1000           # without a server, in this process

Four of five are good ones of several modalities, sent as parts, as a raw body and as JSON, by REST and by gRPC, and
each answer must be the known one, byte for byte; one of five is bad and must get its 4xx. After each hundred, when
nothing is in flight, what the worker holds is looked at, with its fork server and all decode children: memory
(proportional set size), open descriptors, threads, processes, shared-memory segments. From the middle on memory may
grow by 1 MB in 1,000 requests, and everything else not at all; otherwise the exit code is 1.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import httpx
from rich.console import Console
from rich.table import Table

from benchmarks import leak_on_purpose
from benchmarks.changed_archives import change_archive
from benchmarks.footprint import COUNTS, Footprint, Sample, find_leaks, growth, memory_slope
from benchmarks.known_requests import FORMS, Form, KnownRequest, as_raw, make_requests
from cli.archive import build_archive
from cli.package import DEMO_CHECKPOINT
from cli.probe import find_live_workers
from cli.readiness import build_management
from cli.record import ServerRecord
from cli.server import ServeSettings, end_server, start_server
from client.grpc import authorization, build_channel, read_body
from client.protos import inference_pb2, inference_pb2_grpc
from handler.cage.decoder import build_decoder
from handler.limits import HandlerSettings
from handler.pipeline import ActivityPipeline
from handler.request import BODY
from tests.hostile.catalogue import catalogue
from tests.hostile.item import as_received

MAX_SLOPE_MB = 1.0
NUM_KNOWN = 48
BATCH_SIZE = 8
BAD_EVERY = 5
SETTLE_SECONDS = 10.0
TIMEOUT_SECONDS = 60.0

Reply = tuple[int, bytes]
"""A status and a body."""


@dataclass(frozen=True)
class Asked:
    """One request as it is sent."""

    parts: Mapping[str, bytes] = field(repr=False)
    """By name; ``body`` stands for a body without parts."""
    options: Mapping[str, Any] = field(default_factory=dict)
    form: Form = "parts"
    grpc: bool = False
    expected: bytes | None = field(default=None, repr=False)
    """The answer's body; None of a bad one."""

    def is_right(self, reply: Reply) -> bool:
        """Whether this is the answer that it must get."""
        status, body = reply
        return 400 <= status < 500 if self.expected is None else body == self.expected


class Target(Protocol):
    """What is asked."""

    @property
    def pid(self) -> int:
        """The process that answers."""

    def ask(self, batch: Sequence[Asked]) -> list[Reply]:
        """Ask all of them at once."""


class PipelineTarget:
    """A pipeline in this process."""

    def __init__(self, pipeline: ActivityPipeline) -> None:
        self._pipeline = pipeline
        self.pid = os.getpid()

    def ask(self, batch: Sequence[Asked]) -> list[Reply]:
        """See :class:`Target`."""
        raw = [_as_received(asked) for asked in batch]
        responses = self._pipeline.respond(raw, [str(place) for place in range(len(raw))])
        return [(response.status, response.body) for response in responses]


class ServerTarget:
    """A server with one worker."""

    def __init__(self, record: ServerRecord) -> None:
        self._model = record.model
        self._metadata = authorization(record.tokens().inference)
        self._channel = build_channel(record.grpc_target)
        self._stub = inference_pb2_grpc.InferenceAPIsServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._http = httpx.Client(trust_env=False, timeout=TIMEOUT_SECONDS)
        self._url = f"{record.inference_url}/predictions/{record.model}"
        self._headers = dict(self._metadata)
        self._pool = ThreadPoolExecutor(BATCH_SIZE)
        with build_management(record) as management:
            (worker,) = find_live_workers(management.describe(record.model)[0])
        self.pid = worker.pid

    def ask(self, batch: Sequence[Asked]) -> list[Reply]:
        """See :class:`Target`."""
        return list(self._pool.map(self._ask_one, batch))

    def _ask_one(self, asked: Asked) -> Reply:
        if asked.grpc and BODY not in asked.parts:
            parts = {name: bytes(part) for name, part in as_raw(asked.parts, asked.options, "parts").items()}
            request = inference_pb2.PredictionsRequest(model_name=self._model, input=parts)
            answer = read_body(
                self._stub.Predictions(request, metadata=self._metadata, timeout=TIMEOUT_SECONDS).prediction
            )
            return answer.status, answer.body
        raw = as_raw(asked.parts, asked.options, asked.form)
        body = raw.get(BODY)
        sent: dict[str, Any]
        if raw.keys() != {BODY}:
            sent = {"files": {name: (name, bytes(part), "application/octet-stream") for name, part in raw.items()}}
        elif isinstance(body, bytearray | bytes):
            sent = {"content": bytes(body)}
        else:
            sent = {"json": body}
        response = self._http.post(self._url, headers=self._headers, **sent)
        return response.status_code, response.content

    def close(self) -> None:
        """Close the connections."""
        self._pool.shutdown()
        self._http.close()
        self._channel.close()


def _as_received(asked: Asked) -> dict[str, Any]:
    if asked.parts.keys() == {BODY}:
        return {BODY: bytearray(asked.parts[BODY])}
    return as_raw(asked.parts, asked.options, asked.form)


def bad_requests(pipeline: ActivityPipeline) -> list[Mapping[str, bytes]]:
    """Those of the catalogue that this model refuses, whatever they are sent as."""
    items = [item for item in catalogue() if item.path == "predictions" and not item.only_rest and not item.is_body]
    responses = [pipeline.respond([as_received(item)], [item.name])[0] for item in items]
    return [item.raw for item, response in zip(items, responses, strict=True) if response.status != 200]


def mix(known: Sequence[KnownRequest], bad: Sequence[Mapping[str, bytes]], *, seed: int = 0) -> Iterator[Asked]:
    """Requests without end, each fifth a bad one; all the bad ones come in turn, by REST and gRPC."""
    chance = random.Random(seed)  # noqa: S311 - which request comes next is no secret
    number = 0
    while True:
        number += 1
        grpc = chance.random() < 0.25
        if number % BAD_EVERY:
            request = chance.choice(known)
            yield Asked(request.parts, request.options, chance.choice(FORMS), grpc, request.expected)
        else:
            yield Asked(bad[number // BAD_EVERY % len(bad)], grpc=grpc)


@dataclass
class Report:
    """What came of a run."""

    samples: list[Sample] = field(default_factory=list)
    wrong: Counter[str] = field(default_factory=Counter)
    """Answers that were not the right ones."""
    seconds: float = 0.0

    def broken(self, max_slope_mb: float = MAX_SLOPE_MB) -> list[str]:
        """The promises that do not hold."""
        wrong = [f"{self.wrong.total()} wrong answers"] if self.wrong else []
        return wrong + find_leaks(self.samples, max_slope_mb=max_slope_mb)


def measure(target: Target, requests: Iterator[Asked], *, count: int, every: int = 100) -> Report:
    """Ask ``count`` requests, eight at once, and look at the footprint after each ``every`` of them."""
    report, began, done = Report(), time.monotonic(), 0
    while done < count:
        batch = [next(requests) for _ in range(BATCH_SIZE)]
        for asked, reply in zip(batch, target.ask(batch), strict=True):
            if not asked.is_right(reply):
                wanted = "a bad request" if asked.expected is None else "a good request"
                report.wrong[f"{wanted} ({', '.join(asked.parts)}): {reply[0]} {reply[1][:200]!r}"] += 1
        done += BATCH_SIZE
        if done // every > (done - BATCH_SIZE) // every:
            report.samples.append(Sample(done, settled_footprint(target.pid)))
    report.seconds = time.monotonic() - began
    return report


def settled_footprint(pid: int) -> Footprint:
    """The footprint once nothing is counted otherwise from one look to the next: children are made in advance."""
    deadline = time.monotonic() + SETTLE_SECONDS
    before, now = None, Footprint.of(pid)
    while time.monotonic() < deadline and (before is None or _counts(before) != _counts(now)):
        time.sleep(0.1)
        before, now = now, Footprint.of(pid)
    return now


def _counts(footprint: Footprint) -> tuple[int, ...]:
    return tuple(getattr(footprint, name) for name in COUNTS)


def plant_leak(archive: Path, kind: str) -> None:
    """Let the pipeline of an archive leak (:mod:`benchmarks.leak_on_purpose`)."""
    planted = (
        "\n\nfrom handler.leak_on_purpose import leaking  # noqa\n\n"
        f"ActivityPipeline = leaking(ActivityPipeline, {kind!r})\n"
    )
    source = Path(leak_on_purpose.__file__).read_text(encoding="utf-8")
    changes = {"handler/pipeline.py": lambda text: text + planted}
    change_archive(archive, changes, {"handler/leak_on_purpose.py": source})


@contextmanager
def pipeline_target(checkpoint: Path, leak: str | None) -> Iterator[PipelineTarget]:
    """A pipeline in this process, with its decode children, while the block runs."""
    kind = ActivityPipeline if leak is None else leak_on_purpose.leaking(ActivityPipeline, leak)
    decoder = build_decoder(checkpoint, HandlerSettings(), num_waiting=2)
    try:
        yield PipelineTarget(kind.from_checkpoint(checkpoint, decoder=decoder))
    finally:
        if decoder is not None:
            decoder.close()


@contextmanager
def server_target(checkpoint: Path, leak: str | None) -> Iterator[ServerTarget]:
    """A server with one worker, while the block runs."""
    with tempfile.TemporaryDirectory(prefix="activity-leaks-") as scratch:
        archive = Path(scratch) / "activity.mar"
        build_archive(checkpoint, archive)
        if leak is not None:
            plant_leak(archive, leak)
        record = start_server(ServeSettings(archive=archive, run_dir=Path(scratch) / "run"))
        try:
            target = ServerTarget(record)
            yield target
            target.close()
        finally:
            end_server(record)


def print_report(report: Report, max_slope_mb: float) -> None:
    """A table, and what is broken."""
    samples = report.samples
    table = Table(title=f"{samples[-1].requests} requests in {report.seconds:.0f} s")
    for name in ("requests", "memory, MB", *(name.replace("_", " ") for name in COUNTS)):
        table.add_column(name, justify="right")
    step = max(1, len(samples) // 10)
    for sample in [samples[0], *samples[step - 1 :: step]]:
        counts = (str(count) for count in _counts(sample.footprint))
        table.add_row(str(sample.requests), f"{sample.footprint.memory_mb:.1f}", *counts)
    grown = (f"{growth(samples, name):+d}" for name in COUNTS)
    table.add_section()
    table.add_row("from the middle", f"{memory_slope(samples):+.2f} in 1,000", *grown)
    console = Console()
    console.print(table)
    for what, count in report.wrong.most_common(20):
        console.print(f"wrong: {count} x {what}", highlight=False, markup=False)
    for what in report.broken(max_slope_mb):
        console.print(f"BROKEN: {what}", highlight=False)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--every", type=int, default=100, help="requests from one look to the next")
    parser.add_argument("--here", action="store_true", help="ask a pipeline in this process, no server")
    parser.add_argument("--leak", choices=leak_on_purpose.LEAKS, help="the control: leak on purpose")
    parser.add_argument("--max-slope", type=float, default=MAX_SLOPE_MB, help="MB in 1,000 requests")
    parser.add_argument("--checkpoint", type=Path, default=DEMO_CHECKPOINT)
    arguments = parser.parse_args()
    if arguments.requests < 8 * arguments.every:
        parser.error("--requests must be at least 8 times --every")
    asking = ActivityPipeline.from_checkpoint(arguments.checkpoint)
    requests = mix(make_requests(asking, NUM_KNOWN), bad_requests(asking))
    with ExitStack() as stack:
        target = (
            stack.enter_context(pipeline_target(arguments.checkpoint, arguments.leak))
            if arguments.here
            else stack.enter_context(server_target(arguments.checkpoint, arguments.leak))
        )
        report = measure(target, requests, count=arguments.requests, every=arguments.every)
    print_report(report, arguments.max_slope)
    sys.exit(bool(report.broken(arguments.max_slope)))


if __name__ == "__main__":
    main()
