"""A batch of eight forms in a real server, with a bad request in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.bad_neighbours import (
    BATCH,
    SEGFAULT,
    ServerAsk,
    bad_items,
    build_patient_archive,
    one_of_each_code,
    save_every,
    try_server,
)
from benchmarks.known_requests import make_requests
from cli.readiness import build_management
from cli.record import ServerRecord
from handler.pipeline import ActivityPipeline

pytestmark = pytest.mark.server

MODEL = "neighbours"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return save_every(tmp_path)


@pytest.fixture
def patient(server: ServerRecord, model_store: Path, checkpoint: Path) -> Iterator[ServerAsk]:
    """A model of the server that waits for full batches."""
    archive = build_patient_archive(checkpoint, model_store / "neighbours.mar")
    with build_management(server) as management:
        management.register(archive.name, name=MODEL)
        ask = ServerAsk(server, MODEL)
        try:
            yield ask
        finally:
            ask.close()
            management.unregister(MODEL)
            archive.unlink()


def test_neither_a_segfault_of_the_decoder_nor_any_other_fault_reaches_the_batch(
    patient: ServerAsk, checkpoint: Path
) -> None:
    good = make_requests(ActivityPipeline.from_checkpoint(checkpoint), BATCH - 1)
    kinds = one_of_each_code(bad_items())
    report = try_server(patient, good, [SEGFAULT, *[kind for kind in kinds if kind != SEGFAULT][:7]], positions=1)
    assert report.wrong == {}
    assert (report.batches, report.compared) == (8, 56)
