"""A server and its models as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import psutil
from rich.markup import escape
from rich.table import Table

from cli.record import ServerRecord
from client.management import ModelVersion


def server_table(record: ServerRecord) -> Table:
    """Where a server listens and keeps its things."""
    table = Table(show_header=False)
    table.add_row("process", str(record.pid))
    table.add_row("REST", record.inference_url)
    table.add_row("gRPC", record.grpc_target)
    table.add_row("management", f"{record.management_url}, gRPC {record.grpc_management_target}")
    table.add_row("metrics", record.metrics_url)
    table.add_row("keys", escape(str(record.key_file)) if record.token_authorization else "none are asked for")
    table.add_row("logs", escape(str(record.logs)))
    table.add_row("archive", escape(record.archive))
    return table


def models_table(versions: Sequence[ModelVersion], defaults: Mapping[str, str]) -> Table:
    """One row a worker, below its model and version.

    Args:
        versions: what to show.
        defaults: the default version of each model.
    """
    table = Table("model", "version", "waiting", "worker", "state", "process", "memory")
    for version in versions:
        default = ", default" if defaults.get(version.name) == version.version else ""
        cells = [escape(version.name), escape(version.version) + default, str(version.pending_requests)]
        if not version.workers:
            table.add_row(*cells, "none")
        for worker in version.workers:
            state = f"[green]{worker.status}[/green]" if worker.ready else f"[yellow]{worker.status}[/yellow]"
            process = "" if worker.pid is None else str(worker.pid)
            table.add_row(*cells, worker.id, state, process, _memory(worker.pid))
            cells = [""] * len(cells)
    return table


def _memory(pid: int | None) -> str:
    """Resident memory; TorchServe's own figure stays 0 where its view of the machine is off."""
    if pid is None:
        return ""
    try:
        return f"{psutil.Process(pid).memory_info().rss / 1e6:.0f} MB"
    except psutil.Error:
        return ""
