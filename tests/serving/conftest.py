"""One TorchServe for all tests of this folder, with the shipped model."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.archive import build_archive
from cli.destination import Destination
from cli.errors import CommandError
from cli.front import Front, running_front
from cli.nginx import find_nginx
from cli.package import DEMO_CHECKPOINT
from cli.record import ServerRecord
from cli.server import ServeSettings, end_server, start_server
from client.management import ManagementClient
from handler.pipeline import ActivityPipeline
from models.checkpoint import CheckpointDescription, save_checkpoint
from tests.models.every import EVERY
from tests.models.tiny import tiny_model, tiny_tokenizer
from tests.serving.archives import ECHO_HANDLER, write_archive
from tests.serving.tls import make_certificate
from training.synth.render import RenderedClip
from training.synth.samples import render_canary


@pytest.fixture(scope="session")
def model_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a space in its path and two versions of the model."""
    folder = tmp_path_factory.mktemp("model store")
    build_archive(DEMO_CHECKPOINT, folder / "activity.mar", name="activity", version="1.0")
    build_archive(DEMO_CHECKPOINT, folder / "activity-2.mar", name="activity", version="2.0")
    return folder


@pytest.fixture(scope="session")
def pipeline(model_store: Path, tmp_path_factory: pytest.TempPathFactory) -> ActivityPipeline:
    """The archive's first version in this process."""
    unpacked = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(model_store / "activity.mar") as mar:
        mar.extractall(unpacked)
    return ActivityPipeline.from_checkpoint(unpacked)


@pytest.fixture(scope="session")
def server(model_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerRecord]:
    """The running server; its management may register models."""
    run_dir = tmp_path_factory.mktemp("run dir")
    record = start_server(ServeSettings(archive=model_store / "activity.mar", run_dir=run_dir, enable_model_api=True))
    yield record
    end_server(record)


@pytest.fixture(scope="session")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerRecord]:
    """Another one, that speaks TLS and has the settings of `activity serve`: its management registers nothing."""
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = make_certificate(folder)
    archive = write_archive(folder / "echo.mar", ECHO_HANDLER.read_text(encoding="utf-8"))
    settings = ServeSettings(
        archive=archive, run_dir=folder / "run", model="echo", tls_certificate=certificate, tls_key=key
    )
    record = start_server(settings)
    yield record
    end_server(record)


@pytest.fixture(scope="module")
def every(server: ServerRecord, model_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A tiny model of all modalities, registered with the server for as long as a file's tests run."""
    folder = tmp_path_factory.mktemp("every")
    description = CheckpointDescription(name="tiny", version="0.1", config=EVERY)
    save_checkpoint(folder, description, tiny_model(EVERY), tiny_tokenizer())
    archive = build_archive(folder, model_store / "every.mar", name="tiny", version="0.1").path
    with ManagementClient(server.management_url, server.tokens().management) as management:
        management.register(archive.name, workers=1)
        yield "tiny"
        management.unregister("tiny")
    archive.unlink()


@pytest.fixture(scope="session")
def front(server: ServerRecord) -> Iterator[Front]:
    """nginx before the server."""
    try:
        find_nginx()
    except CommandError as exc:
        pytest.skip(f"{exc.message} {exc.remedy}")
    with running_front(server) as opened:
        yield opened


@pytest.fixture(scope="session")
def destination(server: ServerRecord) -> Destination:
    """The server's model, with its token."""
    return Destination.of_record(server)


@pytest.fixture(scope="session")
def clip() -> RenderedClip:
    """A short clip with its words."""
    return render_canary()
