"""What is remembered of a running server: ``server.json`` in its run folder."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from cli.errors import CommandError, NotRunning
from cli.ports import LOOPBACK, Ports

RUN_DIR_VARIABLE = "ACTIVITY_RUN_DIR"
DEFAULT_RUN_DIR = Path(".activity")
RECORD_NAME = "server.json"
KEY_FILE_NAME = "key_file.json"
LOGS_NAME = "logs"


@dataclass(frozen=True)
class Tokens:
    """The keys of a server with token authorization; None where it asks for none."""

    inference: str | None
    management: str | None


@dataclass(frozen=True)
class ServerRecord:
    """A server that was started from a run folder."""

    run_dir: str
    """Its working folder: configuration, key file, logs. Absolute."""
    temp_folder: str
    """Its own temp folder: unpacked archives and worker sockets. Absolute."""
    pid: int
    """The leader of its session; everything that the server starts belongs to that session."""
    began_ticks: int
    """When that process began (:func:`cli.processes.start_ticks`): tells it from a later one with the same number."""
    model: str
    archive: str
    workers: int
    ports: Ports
    token_authorization: bool
    tls_certificate: str | None = None
    """Of inference and management, which the commands trust; None where these speak no TLS."""

    @property
    def _scheme(self) -> str:
        return "http" if self.tls_certificate is None else "https"

    @property
    def inference_url(self) -> str:
        """Where predictions are asked by REST."""
        return f"{self._scheme}://{LOOPBACK}:{self.ports.inference}"

    @property
    def management_url(self) -> str:
        """Where the server is managed by REST."""
        return f"{self._scheme}://{LOOPBACK}:{self.ports.management}"

    @property
    def metrics_url(self) -> str:
        """Where the metrics are read."""
        return f"http://{LOOPBACK}:{self.ports.metrics}/metrics"

    @property
    def grpc_target(self) -> str:
        """Where predictions are asked by gRPC."""
        return f"{LOOPBACK}:{self.ports.grpc_inference}"

    @property
    def grpc_management_target(self) -> str:
        """Where the server is managed by gRPC."""
        return f"{LOOPBACK}:{self.ports.grpc_management}"

    @property
    def key_file(self) -> Path:
        """The keys that TorchServe writes at its start, readable by its user alone."""
        return Path(self.run_dir) / KEY_FILE_NAME

    @property
    def logs(self) -> Path:
        """The folder of the logs."""
        return Path(self.run_dir) / LOGS_NAME

    def tokens(self) -> Tokens:
        """Read the key file.

        Raises:
            CommandError: when the server should have written it and has not.
        """
        if not self.token_authorization:
            return Tokens(None, None)
        try:
            keys = json.loads(self.key_file.read_text(encoding="utf-8"))
            return Tokens(keys["inference"]["key"], keys["management"]["key"])
        except (OSError, ValueError, KeyError) as exc:
            raise CommandError(
                f"The server's key file {self.key_file} cannot be read ({type(exc).__name__}).",
                remedy="Stop the server with `activity stop` and start it again.",
            ) from exc

    def write(self) -> None:
        """Write the record; a reader sees the old one or the new one, never a part."""
        path = record_path(Path(self.run_dir))
        draft = path.with_suffix(".tmp")
        draft.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")
        draft.replace(path)

    @classmethod
    def read(cls, run_dir: Path) -> Self | None:
        """The record in ``run_dir``, or None when there is none.

        Raises:
            CommandError: when the file is there and is no record, or another folder's, or the folder cannot be read.
        """
        path = record_path(run_dir)
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            record = cls(**{**values, "ports": Ports(**values["ports"])})
            its_own = Path(record.run_dir).resolve() == run_dir.resolve()
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise unusable(run_dir, exc) from exc
        except (ValueError, TypeError, KeyError) as exc:
            raise CommandError(
                f"{path} is no record of a server.",
                remedy="It was written by another version or by hand: remove it once no server of it runs.",
            ) from exc
        if not its_own:  # to stop an old server by a copy of its folder would take from a new one what lies there
            raise CommandError(
                f"{path} is the record of a server of another folder, {record.run_dir}.",
                remedy="The folder was copied or moved: name the one it was started in, or remove this file.",
            )
        return record


def unusable(run_dir: Path, error: OSError) -> CommandError:
    """The error for a run folder that cannot be read or written."""
    return CommandError(
        f"{run_dir} cannot be used as a run folder: {error.strerror or type(error).__name__}.",
        remedy=f"Name a folder that you may write to with --run-dir or {RUN_DIR_VARIABLE}.",
    )


def record_path(run_dir: Path) -> Path:
    """Where a run folder's record lies."""
    return run_dir / RECORD_NAME


def resolve_run_dir(run_dir: Path | None) -> Path:
    """The run folder: as given, else ``ACTIVITY_RUN_DIR``, else ``.activity`` in the current folder; absolute."""
    return (run_dir or Path(os.environ.get(RUN_DIR_VARIABLE) or DEFAULT_RUN_DIR)).expanduser().absolute()


def require_record(run_dir: Path) -> ServerRecord:
    """The record in ``run_dir``.

    Raises:
        NotRunning: when there is none.
    """
    record = ServerRecord.read(run_dir)
    if record is None:
        raise NotRunning(
            f"No server was started from {run_dir}.",
            remedy="Start one with `activity serve`, or name the run folder of a running one with --run-dir.",
        )
    return record
