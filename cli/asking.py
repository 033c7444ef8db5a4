"""Whom a command asks: a server, or the model in this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import typer

from cli.destination import DEFAULT_TIMEOUT_SECONDS, Destination
from cli.package import DEMO_CHECKPOINT
from cli.progress import step
from cli.record import require_record, resolve_run_dir
from client.answer import Answer

QUIET_SECONDS = 2.0
"""What takes no longer needs no word of how far it is."""


class Asker(Protocol):
    """Answers requests, of several threads at a time."""

    @property
    def title(self) -> str:
        """What is shown while it answers."""

    @property
    def asked(self) -> dict[str, Any]:
        """What tells its answers from another's: JSON values."""

    @property
    def modalities(self) -> Collection[str]:
        """What it may take of a file."""

    def watch(self, say: Callable[[str], None]) -> None:
        """From now on say how far a long answer is, where that is known."""

    def ask(self, parts: Mapping[str, bytes], options: Mapping[str, Any]) -> Answer:
        """Answer one request.

        Raises:
            client.errors.ClientError: when the model did not answer.
        """


@dataclass(frozen=True)
class ServerAsker:
    """A model of a server; a full queue is waited for where ``patience_seconds`` says so."""

    destination: Destination
    grpc: bool = False
    patience_seconds: float = 0.0
    title: str = "Asking the server"

    @property
    def asked(self) -> dict[str, Any]:
        """The model's registered name and version; the server's address may change from one start to the next."""
        return {"model": self.destination.model, "version": self.destination.version}

    @property
    def modalities(self) -> Collection[str]:
        """What containers hold; which of it the model takes, the server knows."""
        return ("video", "audio", "text")

    def watch(self, say: Callable[[str], None]) -> None:
        """A server says nothing before its answer."""

    def ask(self, parts: Mapping[str, bytes], options: Mapping[str, Any]) -> Answer:
        """Send one request, on a connection of its own."""
        from client.patience import ask_patiently  # noqa: PLC0415 - help must not wait for what only the work needs

        if not self.patience_seconds:
            return self.destination.ask(parts, options, grpc=self.grpc)
        return ask_patiently(
            lambda: self.destination.ask(parts, options, grpc=self.grpc), patience_seconds=self.patience_seconds
        )


class LocalAsker:
    """A checkpoint in this process, which answers what a server would, byte for byte.

    Args:
        checkpoint: its folder.

    Raises:
        typer.BadParameter: it is no checkpoint.
    """

    title = "Predicting"

    def __init__(self, checkpoint: Path) -> None:
        with step(f"Loading {checkpoint.name}"):
            from handler.pipeline import ActivityPipeline  # noqa: PLC0415 - torch takes seconds: they are shown
            from models.settings import SettingsError  # noqa: PLC0415

            try:
                self._pipeline = ActivityPipeline.from_checkpoint(checkpoint)
            except SettingsError as exc:
                raise typer.BadParameter(str(exc)) from exc
        self._checkpoint = checkpoint
        # Models that write words are used by one request at a time, as in a worker.
        self._turn = nullcontext() if self._pipeline.describer is None else threading.Lock()

    @cached_property
    def asked(self) -> dict[str, Any]:
        """The checkpoint's content: one that was trained further has another digest."""
        from retrieval.digest import digest_checkpoint  # noqa: PLC0415 - as above

        return {"checkpoint": digest_checkpoint(self._checkpoint)}

    @property
    def modalities(self) -> Collection[str]:
        """Those of the model."""
        return self._pipeline.config.modalities

    def watch(self, say: Callable[[str], None]) -> None:
        """Say what is done of each stage, in tenths and only of what takes a while."""
        began = time.monotonic()

        def on_progress(stage: str, done: int, total: int) -> None:
            if time.monotonic() - began > QUIET_SECONDS:
                say(f"{stage} {10 * (10 * done // total)} %")

        self._pipeline.scorer.on_progress = on_progress

    def ask(self, parts: Mapping[str, bytes], options: Mapping[str, Any]) -> Answer:
        """Answer with what the server would be given by gRPC."""
        from client.parts import build_parts  # noqa: PLC0415 - as above

        media = {name: content for name, content in parts.items() if name not in ("video", "audio", "text")}
        request = build_parts(parts.get("video"), parts.get("audio"), parts.get("text"), options, media)
        with self._turn:
            (response,) = self._pipeline.respond([{name: bytearray(body) for name, body in request.items()}], ["local"])
        return Answer(response.status, response.content_type, response.body)


@dataclass(frozen=True)
class Place:
    """What the command line says about whom to ask."""

    local: bool = False
    checkpoint: Path = DEMO_CHECKPOINT
    grpc: bool = False
    server: str | None = None
    token: str | None = None
    model: str | None = None
    version: str | None = None
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    run_dir: Path | None = None
    ca: Path | None = None

    def find(self, *, patience_seconds: float = 0.0) -> Asker:
        """Whom to ask; a server that is named, else the one that was started from here.

        Raises:
            NotRunning: no server was named, and none was started from here.
            typer.BadParameter: the checkpoint is none.
        """
        if self.local:
            return LocalAsker(self.checkpoint)
        if self.server is None:
            record = require_record(resolve_run_dir(self.run_dir))
            destination = Destination.of_record(
                record, model=self.model, version=self.version, timeout_seconds=self.timeout_seconds
            )
        else:
            model = self.model or "activity"
            ca = None if self.ca is None else str(self.ca)
            destination = Destination(
                self.server, self.server, self.token, model, self.version, self.timeout_seconds, ca
            )
        return ServerAsker(destination, self.grpc, patience_seconds)
