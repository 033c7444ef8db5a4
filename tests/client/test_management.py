from __future__ import annotations

import json
from typing import Any

import pytest

from client.errors import Conflict, ModelNotFound, Refused, ServerUnreachable, UnexpectedAnswer
from client.management import ManagementClient, Worker
from tests.client.fake_server import FakeServer


def described(*workers: dict[str, Any], min_workers: int = 1) -> bytes:
    model = {
        "modelName": "activity",
        "modelVersion": "1.0",
        "modelUrl": "activity.mar",
        "minWorkers": min_workers,
        "maxWorkers": 4,
        "batchSize": 8,
        "maxBatchDelay": 20,
        "responseTimeout": 600,
        "workers": list(workers),
        "jobQueueStatus": {"remainingCapacity": 97, "pendingRequests": 3},
    }
    return json.dumps([model]).encode()


READY = {"id": "9000", "status": "READY", "pid": 17}
LOADING = {"id": "9001", "status": "UNLOADING", "pid": -1}


def test_a_description_is_read_whole(server: FakeServer) -> None:
    server.body = described(READY, LOADING, min_workers=2)
    with ManagementClient(server.url, "key") as management:
        (version,) = management.describe("activity")
    assert (version.name, version.version, version.url) == ("activity", "1.0", "activity.mar")
    assert (version.min_workers, version.max_workers, version.batch_size) == (2, 4, 8)
    assert (version.max_batch_delay_milliseconds, version.response_timeout_seconds) == (20, 600)
    assert version.pending_requests == 3
    assert version.workers == (Worker("9000", "READY", 17), Worker("9001", "UNLOADING", None))
    assert server.received[0].path == "/models/activity"
    assert server.received[0].headers["authorization"] == "Bearer key"


def test_commands_ask_what_they_say(server: FakeServer) -> None:
    server.body = b'{"status": "done"}'
    with ManagementClient(server.url) as management:
        assert management.scale("activity", workers=2) == "done"
        management.scale("activity", workers=1, version="2.0", synchronous=False)
        management.set_default("activity", "2.0")
        management.unregister("activity", "1.0")
        management.register("activity-2.mar", name="activity", workers=1)
    asked = [(received.method, received.path) for received in server.received]
    assert asked == [
        ("PUT", "/models/activity?min_worker=2&max_worker=2&synchronous=true"),
        ("PUT", "/models/activity/2.0?min_worker=1&max_worker=1&synchronous=false"),
        ("PUT", "/models/activity/2.0/set-default"),
        ("DELETE", "/models/activity/1.0"),
        ("POST", "/models?url=activity-2.mar&initial_workers=1&synchronous=true&model_name=activity"),
    ]


@pytest.mark.parametrize(
    ("status", "message", "expected"),
    [
        (400, "Token Authorization failed. Token either incorrect, ...", Refused),
        (404, "Model not found: no", ModelNotFound),
        (409, "Model version 1.0 is already registered for model activity", Conflict),
    ],
)
def test_refusals_are_errors(server: FakeServer, status: int, message: str, expected: type[Exception]) -> None:
    server.status = status
    server.body = json.dumps({"code": status, "type": "SomeException", "message": message}).encode()
    with ManagementClient(server.url) as management, pytest.raises(expected):
        management.describe("no")


def test_something_else_listens_there(server: FakeServer) -> None:
    server.body = b"<html>"
    with ManagementClient(server.url) as management, pytest.raises(UnexpectedAnswer, match="no JSON"):
        management.describe("activity")


def test_nobody_listens(closed_port: int) -> None:
    with ManagementClient(f"http://127.0.0.1:{closed_port}") as management, pytest.raises(ServerUnreachable):
        management.list()
