from __future__ import annotations

import json

import pytest

from client.errors import (
    ClientError,
    Conflict,
    ModelNotFound,
    Overloaded,
    Refused,
    ServerTimeout,
    ServerUnreachable,
    TooLarge,
    UnexpectedAnswer,
    WorkerFailed,
)
from client.rest import RestClient, is_loopback, prediction_path
from tests.client.fake_server import FakeServer


def torchserve_error(code: int, kind: str, message: str) -> bytes:
    return json.dumps({"code": code, "type": kind, "message": message}).encode()


def test_a_video_alone_goes_as_one_raw_body(server: FakeServer) -> None:
    with RestClient(server.url, "key") as client:
        client.predict(b"\x00\xffmedia")
    (received,) = server.received
    assert (received.method, received.path) == ("POST", "/predictions/activity")
    assert received.body == b"\x00\xffmedia"
    assert received.headers["content-type"] == "application/octet-stream"
    assert received.headers["authorization"] == "Bearer key"


def test_empty_options_keep_the_raw_body(server: FakeServer) -> None:
    with RestClient(server.url) as client:
        client.predict(b"media", options={})
    assert server.received[0].body == b"media"
    assert "authorization" not in server.received[0].headers


@pytest.mark.parametrize("video", [b"", b"{}", b" \n{broken", b"\xef\xbb\xbf {", b"WEBVTT\n", b"\xef\xbb\xbfWEBVTT"])
def test_a_video_that_would_pass_for_something_else_goes_by_its_name(server: FakeServer, video: bytes) -> None:
    with RestClient(server.url) as client:
        client.predict(video)
    assert server.received[0].parts() == {"video": ("video", "application/octet-stream", video)}


def test_further_parts_go_by_their_names_and_values_as_json(server: FakeServer) -> None:
    with RestClient(server.url) as client:
        client.predict(image=b"png", tabular={"guests": 4}, imu=[[0.5, 1.0]], gaze="x\n1\n", depth=None)
    parts = {name: body for name, (_, _, body) in server.received[0].parts().items()}
    assert parts == {"image": b"png", "tabular": b'{"guests": 4}', "imu": b"[[0.5, 1.0]]", "gaze": b"x\n1\n"}


def test_several_parts_go_as_files_so_that_the_server_keeps_their_types(server: FakeServer) -> None:
    with RestClient(server.url) as client:
        client.predict(b"v\r\n\x00", b"a", "grüß", {"top_k": 3})
    parts = server.received[0].parts()
    assert parts["video"] == ("video", "application/octet-stream", b"v\r\n\x00")
    assert parts["audio"] == ("audio", "application/octet-stream", b"a")
    assert parts["text"] == ("text", "application/octet-stream", "grüß".encode())
    name, content_type, options = parts["options"]
    assert (name, content_type, json.loads(options)) == ("options", "application/json", {"top_k": 3})
    assert len(parts) == 4


def test_text_bytes_are_not_touched(server: FakeServer) -> None:
    with RestClient(server.url) as client:
        client.predict(text=b"\xef\xbb\xbfWEBVTT\r\n\xff")
    assert server.received[0].parts()["text"][2] == b"\xef\xbb\xbfWEBVTT\r\n\xff"


def test_model_and_version_are_in_the_path(server: FakeServer) -> None:
    with RestClient(server.url + "/", model="my model", version="2.0/b") as client:
        client.predict(b"x")
    assert server.received[0].path == "/predictions/my%20model/2.0%2Fb"
    assert prediction_path("activity", "1.0") == "/predictions/activity/1.0"


def test_nothing_to_send_is_an_error_before_anything_is_sent(server: FakeServer) -> None:
    with RestClient(server.url) as client, pytest.raises(ValueError, match="at least one of video, audio, text"):
        client.predict(options={"top_k": 3})
    assert server.received == []


def test_the_answer_keeps_status_type_and_bytes(server: FakeServer) -> None:
    server.status, server.body = 422, b'{"status":422,"code":"no_usable_modality","message":"m","remedy":"r"}'
    with RestClient(server.url) as client:
        answer = client.predict(b"x")
    assert (answer.status, answer.content_type, answer.ok) == (422, "application/json", False)
    assert answer.body == server.body
    assert answer.json()["code"] == "no_usable_modality"


def test_captions_are_an_answer_too(server: FakeServer) -> None:
    server.content_type, server.body = "text/vtt; charset=utf-8", b"WEBVTT\n"
    with RestClient(server.url) as client:
        answer = client.predict(b"x", options={"format": "vtt"})
    assert (answer.ok, answer.content_type, answer.body) == (True, "text/vtt; charset=utf-8", b"WEBVTT\n")
    assert repr(answer) == "Answer(200, text/vtt; charset=utf-8, 7 bytes)"


@pytest.mark.parametrize(
    ("status", "kind", "message", "expected"),
    [
        (400, "InvalidKeyException", "Token Authorization failed. Token either incorrect, expired, or ...", Refused),
        (404, "ModelNotFoundException", "Model not found: activity", ModelNotFound),
        (503, "ServiceUnavailableException", 'Model "activity" has no worker to serve inference', Overloaded),
        (503, "InternalServerException", "Prediction failed", WorkerFailed),
        (500, "InternalServerException", "Worker died.", WorkerFailed),
        (507, "InternalServerException", "Out of resources", WorkerFailed),
        (403, "InvalidModelVersionException", "Cannot remove default version for model activity", Conflict),
        (405, "MethodNotAllowedException", "Requested method is not allowed", UnexpectedAnswer),
    ],
)
def test_what_torchserve_itself_answers_is_an_error_with_a_remedy(
    server: FakeServer, status: int, kind: str, message: str, expected: type[ClientError]
) -> None:
    server.status, server.body = status, torchserve_error(status, kind, message)
    with RestClient(server.url) as client, pytest.raises(ClientError) as caught:
        client.predict(b"x")
    assert type(caught.value) is expected
    assert server.url in caught.value.message
    assert caught.value.remedy.endswith(".")


def test_a_bare_413_says_how_large_the_request_was(server: FakeServer) -> None:
    server.status, server.content_type, server.body = 413, None, b""
    with RestClient(server.url) as client, pytest.raises(TooLarge, match="12 bytes"):
        client.predict(b"x" * 10, text="yy")


@pytest.mark.parametrize(("status", "content_type"), [(200, None), (200, "text/html"), (502, "text/html")])
def test_what_is_no_answer_of_the_model_is_an_error(server: FakeServer, status: int, content_type: str | None) -> None:
    server.status, server.content_type, server.body = status, content_type, b"hello"
    with (
        RestClient(server.url) as client,
        pytest.raises(UnexpectedAnswer, match=f"{status} with {content_type or 'no'}"),
    ):
        client.predict(b"x")


def test_nobody_listens(closed_port: int) -> None:
    address = f"http://127.0.0.1:{closed_port}"
    with RestClient(address) as client, pytest.raises(ServerUnreachable, match=address) as caught:
        client.predict(b"x")
    assert "activity serve" in caught.value.remedy


def test_an_answer_that_takes_too_long(server: FakeServer) -> None:
    server.release.clear()
    with RestClient(server.url, timeout_seconds=0.05) as client, pytest.raises(ServerTimeout, match=r"within 0\.05 s"):
        client.predict(b"x")


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(
    server: FakeServer, closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{closed_port}")
    with RestClient(server.url) as client:
        assert client.predict(b"x").ok


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("http://127.0.0.1:8080", True),
        ("http://localhost:1", True),
        ("http://[::1]:80", True),
        ("http://example.org", False),
        ("http://10.0.0.1:8080", False),
    ],
)
def test_loopback_addresses(url: str, loopback: bool) -> None:
    assert is_loopback(url) is loopback


def test_with_patience_a_worker_that_died_is_asked_once_more(server: FakeServer) -> None:
    server.status, server.body = 500, torchserve_error(500, "InternalServerException", "Worker died.")
    for patience_seconds, attempts in ((0.0, 1), (5.0, 2)):
        server.received.clear()
        with (
            RestClient(server.url, patience_seconds=patience_seconds) as client,
            pytest.raises(WorkerFailed, match="Worker died"),
        ):
            client.predict(b"media")
        assert len(server.received) == attempts


@pytest.mark.parametrize(
    "tail", [b'{\n  "code": 500,\n  "message": "Worker died."\n}\n', b'{"type":"seg', b'{"code":500}']
)
def test_lines_that_break_off_are_no_answer(server: FakeServer, tail: bytes) -> None:
    server.content_type, server.body = "application/x-ndjson", b'{"type":"header","status":200}\n'
    with RestClient(server.url) as client:
        assert client.predict(b"media").body == server.body
        server.body += tail
        with pytest.raises(WorkerFailed, match="broke off"):
            client.predict(b"media")
