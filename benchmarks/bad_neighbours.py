"""Does a bad request change the answers of those that are in a batch with it?

    python -m benchmarks.bad_neighbours              # a real server: all kinds, one of each code in all 8 positions
    python -m benchmarks.bad_neighbours --full       # every kind in every position
    python -m benchmarks.bad_neighbours --here       # without a server, in this process

Seven good requests and a bad one are one batch: the server waits long enough for all eight, they are sent in order,
and its measure of how full batches are must say so. The seven must get the answers that they get alone, byte for byte,
and the bad one its own error. Among the kinds is a decoder that reads address 0: only its child dies. Otherwise the
exit code is 1.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from rich.console import Console

from benchmarks.changed_archives import CONFIG, change_archive
from benchmarks.known_requests import KnownRequest, as_raw, make_requests
from benchmarks.segfaulting import SEGFAULT_TEXT, plant_in, segfaulting_servers
from cli.archive import build_archive
from cli.record import ServerRecord
from cli.server import ServeSettings, end_server, start_server
from handler.cage.decoder import build_decoder
from handler.limits import HandlerSettings
from handler.pipeline import ActivityPipeline
from models.checkpoint import CheckpointDescription, read_description, save_checkpoint
from tests.hostile.catalogue import catalogue
from tests.hostile.item import OK, Item, as_received, parts
from tests.models.every import EVERY
from tests.models.tiny import tiny_model, tiny_tokenizer

BATCH = 8
DELAY_MILLISECONDS = 5_000
"""How long the server waits for a batch to be full: much longer than eight requests take to arrive."""
GAP_SECONDS = 0.01
"""From one request to the next, so that they arrive in order."""
TIMEOUT_SECONDS = 60.0

SEGFAULT = parts("a decoder that segfaults", 422, "decoder_crashed", {"text": SEGFAULT_TEXT.encode()})

Reply = tuple[int, bytes]
"""A status and a body."""
Ask = Callable[[Sequence[KnownRequest | Item]], list[Reply]]
"""Answers a batch, in order."""


@dataclass
class Report:
    """What came of it."""

    batches: int = 0
    compared: int = 0
    """Answers of good ones that were compared with theirs alone."""
    wrong: Counter[str] = field(default_factory=Counter)
    """By kind and what was not as it should be."""

    def add(self, other: Report) -> None:
        """Take over what another one has."""
        self.batches += other.batches
        self.compared += other.compared
        self.wrong += other.wrong


def bad_items() -> list[Item]:
    """One request of each kind of bad ones."""
    return [SEGFAULT, *(item for item in catalogue() if item.code != OK)]


def try_all(ask: Ask, good: Sequence[KnownRequest], bad: Sequence[Item], *, positions: int = BATCH) -> Report:
    """Put each bad one into a batch of good ones.

    Args:
        ask: answers a batch.
        good: seven.
        bad: one of each kind.
        positions: how many of the 8 positions each kind is tried in; which ones changes from kind to kind.
    """
    report = Report()
    for number, item in enumerate(bad):
        for step in range(positions):
            position = (number + step) % BATCH
            batch: list[KnownRequest | Item] = [*good[:position], item, *good[position:]]
            for asked, reply in zip(batch, ask(batch), strict=True):
                fault = find_fault(asked, reply)
                report.compared += isinstance(asked, KnownRequest)
                if fault is not None:
                    report.wrong[f"{item.name}, position {position}: {fault}"] += 1
            report.batches += 1
    return report


def find_fault(asked: KnownRequest | Item, reply: Reply) -> str | None:
    """What is wrong with an answer, or None."""
    status, body = reply
    if isinstance(asked, KnownRequest):
        return None if body == asked.expected else f"a neighbour got {status} {body[:200]!r}"
    try:
        code = json.loads(body).get("code")
    except ValueError:
        code = None
    return None if (status, code) == (asked.status, asked.code) else f"it got {status} {body[:200]!r}"


def pipeline_ask(pipeline: ActivityPipeline) -> Ask:
    """Ask a pipeline in this process."""

    def ask(batch: Sequence[KnownRequest | Item]) -> list[Reply]:
        raw = [
            as_raw(it.parts, it.options, "parts") if isinstance(it, KnownRequest) else as_received(it) for it in batch
        ]
        responses = pipeline.respond(raw, [str(place) for place in range(len(raw))])
        return [(response.status, response.body) for response in responses]

    return ask


PATHS = {
    "predictions": "/predictions/{model}",
    "v1": "/v1/models/{model}:predict",
    "v2": "/v2/models/{model}/infer",
}


class ServerAsk:
    """Asks a server whose batches are full; each batch is sent in order."""

    def __init__(self, record: ServerRecord, model: str) -> None:
        self._model = model
        self._metrics_url = record.metrics_url
        self._pool = ThreadPoolExecutor(BATCH)
        headers = {"Authorization": f"Bearer {record.tokens().inference}"}
        self._http = httpx.Client(
            base_url=record.inference_url, headers=headers, trust_env=False, timeout=TIMEOUT_SECONDS
        )

    def __call__(self, batch: Sequence[KnownRequest | Item]) -> list[Reply]:
        """See :data:`Ask`."""
        sent = []
        for asked in batch:
            sent.append(self._pool.submit(self._ask_one, asked))
            time.sleep(GAP_SECONDS)
        return [each.result() for each in sent]

    def _ask_one(self, asked: KnownRequest | Item) -> Reply:
        path = PATHS["predictions" if isinstance(asked, KnownRequest) else asked.path].format(model=self._model)
        if isinstance(asked, Item) and asked.is_body:
            body, kind = asked.raw["body"], {"Content-Type": asked.content_type}
            response = self._http.post(path, content=body, headers=kind)
        else:
            named = (
                list(asked.parts)
                if isinstance(asked, Item)
                else list(as_raw(asked.parts, asked.options, "parts").items())
            )
            files = [(name, (name, bytes(content), "application/octet-stream")) for name, content in named]
            response = self._http.post(path, files=files)
        return response.status_code, response.content

    def batches(self) -> tuple[int, float]:
        """How many batches there were, and how full they were together."""
        text = self._http.get(self._metrics_url).text
        count, total = (
            sum(map(float, re.findall(rf"^activity_batch_fill_ratio_{name}{{.*}} (\S+)$", text, re.MULTILINE)))
            for name in ("count", "sum")
        )
        return round(count), total

    def close(self) -> None:
        """Close the connections."""
        self._pool.shutdown()
        self._http.close()


def build_patient_archive(checkpoint: Path, archive: Path) -> Path:
    """An archive whose server waits for full batches, and whose decoder segfaults over one text."""
    build_archive(checkpoint, archive, name=read_description(checkpoint).name)
    delay = f"maxBatchDelay: {DELAY_MILLISECONDS}"
    change_archive(archive, {CONFIG: lambda text: re.sub(r"(?m)^maxBatchDelay: \d+$", delay, text)})
    plant_in(archive)
    return archive


@contextmanager
def running_server(checkpoint: Path) -> Iterator[ServerAsk]:
    """A server with one worker, while the block runs."""
    with tempfile.TemporaryDirectory(prefix="activity-neighbours-") as scratch:
        archive = build_patient_archive(checkpoint, Path(scratch) / "activity.mar")
        record = start_server(ServeSettings(archive=archive, run_dir=Path(scratch) / "run"))
        try:
            ask = ServerAsk(record, record.model)
            yield ask
            ask.close()
        finally:
            end_server(record)


def save_every(folder: Path) -> Path:
    """A tiny model of all modalities, so that each decoder is reached; returns its checkpoint."""
    checkpoint = folder / "checkpoint"
    checkpoint.mkdir()
    description = CheckpointDescription(name="activity", version="1.0", config=EVERY)
    save_checkpoint(checkpoint, description, tiny_model(EVERY), tiny_tokenizer())
    return checkpoint


def one_of_each_code(items: Sequence[Item]) -> list[Item]:
    """The first with each code."""
    return list({item.code: item for item in reversed(items)}.values())


def try_server(ask: Ask, good: Sequence[KnownRequest], bad: Sequence[Item], *, positions: int) -> Report:
    """:func:`try_all`; of a server, also that each batch was one."""
    if not isinstance(ask, ServerAsk):
        return try_all(ask, good, bad, positions=positions)
    before, filled_before = ask.batches()
    report = try_all(ask, good, bad, positions=positions)
    after, filled = ask.batches()
    if (after - before, round(filled - filled_before, 3)) != (report.batches, report.batches):
        report.wrong[f"{after - before} batches were {filled - filled_before:g} full, expected {report.batches}"] += 1
    return report


def run(checkpoint: Path, *, here: bool, full: bool) -> Report:
    """Try all kinds, and of each code one in every position; or every kind in every position."""
    good = make_requests(ActivityPipeline.from_checkpoint(checkpoint), BATCH - 1)
    bad = bad_items()
    rounds = [(bad, BATCH)] if full else [(one_of_each_code(bad), BATCH), (bad, 1)]
    total = Report()
    with ExitStack() as stack:
        ask: Ask
        if here:
            stack.enter_context(segfaulting_servers())
            decoder = build_decoder(checkpoint, HandlerSettings(), num_waiting=2)
            ask = pipeline_ask(ActivityPipeline.from_checkpoint(checkpoint, decoder=decoder))
        else:
            ask = stack.enter_context(running_server(checkpoint))
        for items, positions in rounds:
            total.add(try_server(ask, good, items, positions=positions))
    return total


def main() -> None:
    """Try and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="each kind in each position")
    parser.add_argument("--here", action="store_true", help="ask a pipeline in this process, no server")
    arguments = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="activity-neighbours-") as scratch:
        report = run(save_every(Path(scratch)), here=arguments.here, full=arguments.full)
    console = Console()
    console.print(
        f"{len(bad_items())} kinds, {report.batches} batches of {BATCH} in {time.monotonic() - began:.0f} s: "
        f"{report.compared} answers compared with theirs alone, {report.wrong.total()} things wrong",
        highlight=False,
    )
    for what, count in report.wrong.most_common(40):
        console.print(f"BROKEN: {count} x {what}", highlight=False, markup=False)
    sys.exit(bool(report.wrong))


if __name__ == "__main__":
    main()
