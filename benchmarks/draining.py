"""A server, or its front, that is ended while requests are in flight: which are answered, which refused, which lost.

    python -m benchmarks.draining --archive model-store/activity.mar --rounds 3

Clients ask without a pause by REST, by gRPC and for an answer in parts (`stream`). Then something is ended:

    stop        `activity stop`, the clients at the front, which stays
    foreground  SIGTERM to `activity serve --foreground`, the clients at the front, which stays
    front       SIGTERM to `activity front`, the server stays
    direct      `activity stop`, the clients at TorchServe's own ports, which refuse nobody

Each round starts a server of its own for each of them. A request is lost where it was neither answered rightly nor
refused: by a 503, UNAVAILABLE in a front's words, or because nobody listens. The exit code is 1 where one was lost or
the end took more than 30 s, `direct` left out.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import grpc

from benchmarks.http_load import Reply, build_request, send
from benchmarks.long_media import make_long_clip
from cli.canary import Canary, read_canary
from cli.draining_mark import MARK_NAME
from cli.errors import CommandError
from cli.package import DEFAULT_ARCHIVE
from cli.ports import LOOPBACK, find_free_port
from cli.record import ServerRecord, require_record
from client.errors import NO_PLACE
from client.grpc import authorization
from client.protos import inference_pb2, inference_pb2_grpc

WAYS = ("stop", "foreground", "front", "direct")
LOADED_SECONDS = 3.0
AFTER_SECONDS = 1.0
PAUSE_SECONDS = 0.02
TIMEOUT_SECONDS = 120.0
STREAM_SECONDS = 100.0
"""Of the recording whose answer comes in parts: about two seconds of work."""
LONGEST_END_SECONDS = 30.0
LARGEST_MESSAGE = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]

ANSWERED, REFUSED = "answered", "refused"


@dataclass(frozen=True)
class Outcome:
    """What became of one request."""

    kind: str
    began: float
    """Seconds of the monotonic clock."""
    ended: float
    fate: str
    """``answered``, ``refused``, or how it was lost."""


@dataclass(frozen=True)
class Ended:
    """What came of one end."""

    signalled: float
    """Seconds of the monotonic clock."""
    seconds: float
    """From then to the end of the process that was told to end, or that ended the server."""
    outcomes: list[Outcome]

    def count(self) -> tuple[Counter[str], Counter[str]]:
        """The fates of the requests in flight when it began, and of those that came later."""
        in_flight: Counter[str] = Counter()
        later: Counter[str] = Counter()
        for outcome in self.outcomes:
            if outcome.ended > self.signalled:
                (in_flight if outcome.began < self.signalled else later)[_told(outcome)] += 1
        return in_flight, later

    @property
    def lost(self) -> int:
        """How many were lost, those before the end included."""
        return sum(outcome.fate not in {ANSWERED, REFUSED} for outcome in self.outcomes)

    def __str__(self) -> str:
        in_flight, later = self.count()
        return (
            f"ended in {self.seconds:.1f} s; {len(self.outcomes)} requests; in flight then {dict(in_flight)}, "
            f"later {dict(later)}; lost {self.lost}"
        )


def _told(outcome: Outcome) -> str:
    return outcome.fate if outcome.fate in {ANSWERED, REFUSED} else f"{outcome.kind} {outcome.fate}"


class Clients:
    """Asks at two addresses until it is told to stop.

    Args:
        rest_port: of the loopback address.
        grpc_port: of the loopback address.
        token: the key.
        canary: what is asked, and the answer.
        recording: whose answer comes in parts.
    """

    def __init__(self, rest_port: int, grpc_port: int, token: str | None, canary: Canary, recording: bytes) -> None:
        self.outcomes: list[Outcome] = []
        self._rest_port, self._target = rest_port, f"{LOOPBACK}:{grpc_port}"
        self._token, self._canary = token, canary
        parts = {"video": recording, "options": json.dumps({"stream": True}).encode()}
        self._rest = build_request(canary.parts, token=token, host=LOOPBACK)
        self._stream = build_request(parts, token=token, host=LOOPBACK)

    async def ask_until(self, ended: asyncio.Event) -> None:
        """Two clients by REST, one by gRPC, one that streams."""
        async with grpc.aio.insecure_channel(self._target, options=LARGEST_MESSAGE) as channel:
            stub = inference_pb2_grpc.InferenceAPIsServiceStub(channel)  # type: ignore[no-untyped-call]
            request = inference_pb2.PredictionsRequest(model_name="activity", input=dict(self._canary.parts))

            async def call() -> str:
                metadata = tuple(authorization(self._token))
                try:
                    await stub.Predictions(request, timeout=TIMEOUT_SECONDS, metadata=metadata)
                except grpc.aio.AioRpcError as exc:
                    return _fate_of_call(exc)
                return ANSWERED

            ways = [("REST", self._by_rest), ("REST", self._by_rest), ("gRPC", call), ("stream", self._in_parts)]
            async with asyncio.TaskGroup() as group:
                for kind, ask in ways:
                    group.create_task(self._ask_on(kind, ask, ended))

    async def _ask_on(self, kind: str, ask: Callable[[], Awaitable[str]], ended: asyncio.Event) -> None:
        while not ended.is_set():
            began = time.monotonic()
            fate = await ask()
            self.outcomes.append(Outcome(kind, began, time.monotonic(), fate))
            await asyncio.sleep(PAUSE_SECONDS)

    async def _by_rest(self) -> str:
        reply = await send(LOOPBACK, self._rest_port, self._rest, timeout_seconds=TIMEOUT_SECONDS)
        return _fate(reply, b'"activities"')

    async def _in_parts(self) -> str:
        reply = await send(LOOPBACK, self._rest_port, self._stream, timeout_seconds=TIMEOUT_SECONDS)
        return _fate(reply, b'"type":"end"')


def _fate(reply: Reply, needed: bytes) -> str:
    if reply.status == 503 or reply.fault == "refused":
        return REFUSED
    if reply.status == 200:
        return ANSWERED if needed in reply.body else "cut off"
    return reply.fault or str(reply.status)


def _fate_of_call(error: grpc.aio.AioRpcError) -> str:
    details = error.details() or ""
    nobody = "Connection refused" in details or "failed to connect" in details.lower()
    if error.code() is grpc.StatusCode.UNAVAILABLE and (NO_PLACE in details or nobody):
        return REFUSED
    return f"{error.code().name} {details}"


class _Command:
    """An `activity` command in a process of its own."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "cli.app", *arguments]
        self.process = subprocess.Popen(  # noqa: S603 - our own
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )

    def wait_for(self, words: str) -> None:
        """Read what it says until a line has these words."""
        assert self.process.stderr is not None  # noqa: S101 - for the type checker
        said = []
        for line in self.process.stderr:
            said.append(line)
            if words in line:
                return
        raise CommandError(f"`activity` ended: {''.join(said)[-500:]}", remedy="Its run folder has the logs.")

    def end(self) -> None:
        """SIGTERM, and its end."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.communicate()


def measure(way: str, archive: Path, run_dir: Path, recording: bytes) -> Ended:
    """Start a server, let clients ask, and end what ``way`` says."""
    with ExitStack() as stack:
        serving = _Command("serve", "--archive", str(archive), "--run-dir", str(run_dir), "--foreground")
        stack.callback(serving.end)
        serving.wait_for("Ctrl-C")
        record = require_record(run_dir)
        rest_port, grpc_port = record.ports.inference, record.ports.grpc_inference
        front = None
        if way != "direct":
            rest_port = find_free_port(set())
            grpc_port = find_free_port({rest_port})
            front = _Command(
                *("front", "--port", str(rest_port), "--grpc-port", str(grpc_port), "--run-dir", str(run_dir))
            )
            stack.callback(front.end)
            front.wait_for("Ctrl-C")
        canary = read_canary(archive)
        if canary is None:
            raise CommandError("The archive carries no canary.", remedy="Build it with `activity package`.")
        clients = Clients(rest_port, grpc_port, record.tokens().inference, canary, recording)
        ended = {"front": front, "foreground": serving}.get(way)
        return asyncio.run(_measure(clients, ended, record))


async def _measure(clients: Clients, command: _Command | None, record: ServerRecord) -> Ended:
    over = asyncio.Event()
    asking = asyncio.create_task(clients.ask_until(over))
    await asyncio.sleep(LOADED_SECONDS)
    if command is None:
        stopping = _Command("stop", "--run-dir", record.run_dir).process
        while not Path(record.run_dir, MARK_NAME).exists() and stopping.poll() is None:
            await asyncio.sleep(0.01)
    else:
        stopping = command.process
        stopping.send_signal(signal.SIGTERM)
    signalled = time.monotonic()
    while stopping.poll() is None:
        await asyncio.sleep(0.02)
    seconds = time.monotonic() - signalled
    await asyncio.sleep(AFTER_SECONDS)
    over.set()
    await asking
    return Ended(signalled, seconds, clients.outcomes)


def main() -> int:
    """Measure and print what came of it.

    Returns:
        1 where a promise is broken.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archive", type=Path, default=DEFAULT_ARCHIVE)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--ways", default=",".join(WAYS), help="what is ended, with commas")
    arguments = parser.parse_args()
    broken = False
    with tempfile.TemporaryDirectory(prefix="draining-") as name:
        recording = Path(name) / "long.mp4"
        make_long_clip(recording, STREAM_SECONDS)
        for number in range(arguments.rounds):
            for way in arguments.ways.split(","):
                ended = measure(way, arguments.archive, Path(name) / f"{way}-{number}", recording.read_bytes())
                print(f"{way:10} {ended}", flush=True)
                broken |= way != "direct" and (ended.lost > 0 or ended.seconds > LONGEST_END_SECONDS)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
