"""A running server at one moment: its processes, its workers and queues, and its load since the moment before."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import psutil

from cli.processes import find_processes
from cli.readiness import build_management
from cli.record import ServerRecord
from cli.scrape import Scrape, increase, increases, quantiles, read_scrape
from client.management import ManagementClient, ModelVersion

QUANTILES = (0.5, 0.95)


@dataclass(frozen=True)
class Memory:
    """Memory of one process with all that it has started, or of several."""

    rss_bytes: int
    """Resident; what processes share counts for each."""
    pss_bytes: int | None
    """Resident; what processes share is parted among them. None where the system does not say it."""


@dataclass(frozen=True)
class WorkerUse:
    """One worker."""

    id: str
    state: str
    """As TorchServe says it: ``READY``, or ``UNLOADING`` both while it loads and while it is down."""
    ready: bool
    pid: int | None
    uptime_seconds: float | None
    """Of its process; None where there is none."""
    memory: Memory | None
    """Of its process and those that it has started."""


@dataclass(frozen=True)
class Load:
    """What a model's version did between two moments."""

    seconds: float
    """Between them."""
    requests_per_second: dict[str, float]
    """By outcome: ``ok``, or an error's code; those without a request are left out."""
    windows_per_second: float
    request_seconds: tuple[float, ...] | None
    """:data:`QUANTILES` of a request's seconds of work, the queue left out; None where there was none."""
    real_time_factor: tuple[float, ...] | None
    """:data:`QUANTILES` of the seconds of work for a second of clip."""
    batch_fill: float | None
    """Mean of the requests of a batch, of as many as it may have."""
    padding: dict[str, float]
    """Of the hops and windows that were computed the part that only filled up a micro-batch, in [0, 1]."""
    children_lost: dict[str, float]
    """Decode children that crashed, or were killed for their memory or time, by why; those without are left out."""


@dataclass(frozen=True)
class VersionUse:
    """One version of a model."""

    name: str
    version: str
    is_default: bool
    waiting: int
    """Requests in its queue."""
    workers: tuple[WorkerUse, ...]
    load: Load | None
    """Since the moment before; None at the first one."""

    @property
    def num_ready(self) -> int:
        """Workers that take requests."""
        return sum(worker.ready for worker in self.workers)


@dataclass(frozen=True)
class Snapshot:
    """A server at one moment."""

    time: str
    """ISO 8601, UTC."""
    pid: int
    uptime_seconds: float
    memory: Memory
    """Of the server without its workers."""
    models: tuple[VersionUse, ...]

    @property
    def whole_memory(self) -> Memory:
        """Of the server with its workers."""
        return _sum([self.memory, *(each.memory for model in self.models for each in model.workers if each.memory)])

    def to_json(self) -> dict[str, Any]:
        """The values as JSON has them; quantiles by their name."""
        values = asdict(self)
        values["whole_memory"] = asdict(self.whole_memory)
        for load in (model["load"] for model in values["models"] if model["load"]):
            for name in ("request_seconds", "real_time_factor"):
                found = load[name]
                load[name] = found and {f"p{each * 100:g}": value for each, value in zip(QUANTILES, found, strict=True)}
        return values


def look_at(record: ServerRecord) -> Snapshot:
    """A server now, without its load.

    Raises:
        ClientError: when it does not answer.
    """
    with build_management(record) as management:
        return Observer(record, management, with_load=False).look()


class Observer:
    """Looks at one server again and again.

    Args:
        record: the server.
        management: its management.
        with_load: read its metrics, too.
    """

    def __init__(self, record: ServerRecord, management: ManagementClient, *, with_load: bool = True) -> None:
        self._record = record
        self._with_load = with_load
        self._management = management
        self._before: Scrape | None = None

    def look(self) -> Snapshot:
        """The server now.

        Raises:
            ClientError: when it does not answer.
        """
        names = self._management.list()
        described = [version for name in names for version in self._management.describe(name, "all")]
        defaults = {name: self._management.describe(name)[0].version for name in names}
        now = read_scrape(self._record.metrics_url) if self._with_load else None
        before, self._before = self._before, now
        families = _families([worker.pid for version in described for worker in version.workers if worker.pid])
        workers = {process.pid for family in families.values() for process in family}
        own = [
            process
            for process in find_processes(self._record.pid, self._record.began_ticks)
            if process.pid not in workers
        ]
        return Snapshot(
            time=datetime.now(UTC).isoformat(timespec="milliseconds"),
            pid=self._record.pid,
            uptime_seconds=_uptime(self._record.pid) or 0.0,
            memory=measure_memory(own),
            models=tuple(
                _version_use(version, defaults.get(version.name) == version.version, families, before, now)
                for version in described
            ),
        )


def measure_load(before: Scrape, after: Scrape, name: str, version: str) -> Load:
    """What a model's version did between two scrapes."""
    model = {"model_name": name, "model_version": version}
    seconds = max(after.at_seconds - before.at_seconds, 1e-9)
    requests = increases(before, after, "activity_requests_total", **model)
    computed = increases(before, after, "activity_computed_total", **model)
    ended = increases(before, after, "activity_decode_children_total", **model)
    ended = {labels: count for labels, count in ended.items() if dict(labels)["reason"] != "ok"}
    batches = increase(before, after, "activity_batch_fill_ratio_count", **model)
    filled = increase(before, after, "activity_batch_fill_ratio_sum", **model)
    items = {dict(labels)["item"]: count for labels, count in computed.items() if count > 0}
    return Load(
        seconds=seconds,
        requests_per_second={dict(labels)["code"]: count / seconds for labels, count in requests.items() if count > 0},
        windows_per_second=increase(before, after, "activity_windows_total", **model) / seconds,
        request_seconds=quantiles(before, after, "activity_request_seconds", QUANTILES, **model),
        real_time_factor=quantiles(before, after, "activity_real_time_factor", QUANTILES, **model),
        batch_fill=filled / batches if batches > 0 else None,
        padding={
            item: increase(before, after, "activity_padding_total", **model, item=item) / count
            for item, count in items.items()
        },
        children_lost={dict(labels)["reason"]: count for labels, count in ended.items() if count > 0},
    )


def measure_memory(processes: Iterable[psutil.Process]) -> Memory:
    """The memory of processes together; of those that have ended none."""
    return _sum([found for process in processes if (found := _memory(process)) is not None])


def _version_use(
    version: ModelVersion,
    is_default: bool,
    families: dict[int, list[psutil.Process]],
    before: Scrape | None,
    now: Scrape | None,
) -> VersionUse:
    workers = tuple(
        WorkerUse(
            worker.id,
            worker.status,
            worker.ready,
            worker.pid,
            None if worker.pid is None else _uptime(worker.pid),
            measure_memory(families[worker.pid]) if worker.pid in families else None,
        )
        for worker in version.workers
    )
    load = None if before is None or now is None else measure_load(before, now, version.name, version.version)
    return VersionUse(version.name, version.version, is_default, version.pending_requests, workers, load)


def _families(pids: Iterable[int]) -> dict[int, list[psutil.Process]]:
    """Each process that runs, with those that it has started."""
    found = {}
    for pid in pids:
        try:
            process = psutil.Process(pid)
            found[pid] = [process, *process.children(recursive=True)]
        except psutil.Error:
            continue
    return found


def _memory(process: psutil.Process) -> Memory | None:
    try:
        full = process.memory_full_info()
    except psutil.AccessDenied:
        return Memory(process.memory_info().rss, None)
    except psutil.Error:
        return None
    return Memory(full.rss, getattr(full, "pss", None))


def _sum(memories: list[Memory]) -> Memory:
    parted = [each.pss_bytes for each in memories]
    known = [each for each in parted if each is not None]
    return Memory(sum(each.rss_bytes for each in memories), sum(known) if len(known) == len(parted) else None)


def _uptime(pid: int) -> float | None:
    try:
        return max(0.0, time.time() - psutil.Process(pid).create_time())
    except psutil.Error:
        return None
