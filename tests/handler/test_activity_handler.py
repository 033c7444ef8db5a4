"""TorchServe's own context, as its worker fills it, around the handler."""

from __future__ import annotations

import json
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from ts.context import Context, RequestProcessor
from ts.protocol.otf_message_handler import create_predict_response

from handler import measures, runtime
from handler.activity_handler import ActivityHandler
from handler.cage import decoder
from handler.cage.decoder import CagedDecoder
from models.checkpoint import save_checkpoint
from models.settings import SettingsError
from tests.handler.requests import tiny_checkpoint, tiny_pipeline
from tests.media import Sound, render


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("archive")
    checkpoint = tiny_checkpoint()
    save_checkpoint(path, checkpoint.description, checkpoint.model, checkpoint.tokenizer)
    return path


def make_context(folder: Path, *, gpu_id: int | None = None, yaml: dict[str, Any] | None = None) -> Any:
    return Context("activity", str(folder), {}, 8, gpu_id, "0.12.0", model_yaml_config=yaml)


@pytest.fixture(autouse=True)
def decoded_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests start many handlers: only those that are about the cage build one."""
    monkeypatch.setattr(decoder, "build_decoder", lambda *_: None)


def started(folder: Path, yaml: dict[str, Any] | None = None) -> ActivityHandler:
    handler = ActivityHandler()
    handler.initialize(make_context(folder, yaml=yaml))
    return handler


def with_requests(context: Any, request_ids: list[str]) -> Any:
    context.request_ids = dict(enumerate(request_ids))
    context.request_processor = [RequestProcessor({}) for _ in request_ids]
    return context


def test_a_batch_is_answered_with_status_and_content_type_by_request(folder: Path) -> None:
    data: list[dict[str, Any]] = [
        {"body": render("wav", Sound(codec="pcm_s16le", seconds=1.0))},
        {"clip": b"?"},
        {"text": "stir", "options": '{"format": "vtt"}'},
        {"body": b"no media at all"},
    ]
    request_ids = ["a", "b", "c", "d"]
    context = with_requests(make_context(folder), request_ids)
    bodies = started(folder).handle(data, context)
    expected = tiny_pipeline().respond(data, request_ids)
    assert bodies == [response.body for response in expected]
    assert [context.get_response_status(place) for place in range(4)] == [
        (200, None),
        (400, "Bad Request"),
        (200, None),
        (422, "Unprocessable Content"),
    ]
    assert [context.get_response_content_type(place) for place in range(4)] == [
        *("application/json", "application/json"),
        *("text/vtt; charset=utf-8", "application/json"),
    ]


def test_the_json_of_a_grpc_call_is_told_from_a_clients(folder: Path) -> None:
    """All of it is in base64, and the worker dies of another answer: ``c3Rpcg==`` is "stir" there, and a word here."""
    inputs = [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["c3Rpcg=="]}]
    body = {"id": "", "model_name": "activity", "inputs": inputs}
    context = with_requests(make_context(folder), ["a", "b"])
    context.request_processor[1] = RequestProcessor({"explain": "False"})
    by_grpc, by_rest = map(json.loads, started(folder).handle([{"body": body}, {"body": body}], context))
    (expected,) = tiny_pipeline().respond([{"text": "stir"}], ["a"])
    assert by_grpc["outputs"][0]["data"] == [json.loads(expected.body)]
    (expected,) = tiny_pipeline().respond([{"text": "c3Rpcg=="}], ["a"])
    assert by_rest["outputs"][0]["data"] == [expected.body.decode()]


class Series:
    def __init__(self, told: list[tuple[str, str, float, list[str]]], name: str, kind: str) -> None:
        self.told, self.name, self.kind = told, name, kind

    def add_or_update(self, value: float, labels: list[str]) -> None:
        self.told.append((self.name, self.kind, value, labels))


class Metrics:
    """The worker's, which knows what the server's file declares."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, float, list[str]]] = []

    def get_metric(self, name: str, kind: Any) -> Series:
        return Series(self.told, name, kind.value)


def test_what_a_batch_cost_is_told_and_logged(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    context = with_requests(make_context(folder), ["a", "b"])
    context.metrics = Metrics()
    with caplog.at_level("INFO"):
        started(folder).handle([{"text": "stir"}, {"clip": b"?"}], context)
    counted = [each[2:] for each in context.metrics.told if each[:2] == ("activity_requests_total", "counter")]
    assert [(value, labels[2:]) for value, labels in counted] == [(1, ["ok"]), (1, ["unknown_part"])]
    assert ("activity_batch_fill_ratio", "histogram", 0.25) in [each[:3] for each in context.metrics.told]
    lines = [json.loads(line) for line in caplog.messages if line.startswith('{"request_id"')]
    assert [(line["request_id"], line["code"]) for line in lines] == [("a", "ok"), ("b", "unknown_part")]


def test_a_server_with_another_metrics_file_serves(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyError

    monkeypatch.setattr(measures, "starting_samples", fail)
    monkeypatch.setattr(measures, "samples", fail)
    context = with_requests(make_context(folder), ["a"])
    context.metrics = Metrics()
    handler = ActivityHandler()
    handler.initialize(context)
    assert len(handler.handle([{"text": "stir"}], context)) == 1
    assert handler.lost_measures


def test_no_answer_is_lost_with_its_measures(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    context = with_requests(make_context(folder), ["a"])
    context.metrics = object()
    handler = started(folder)
    expected = [response.body for response in tiny_pipeline().respond([{"text": "stir"}], ["a"])]
    with caplog.at_level("INFO"):
        assert [handler.handle([{"text": "stir"}], context) for _ in range(3)] == [expected] * 3
    assert caplog.text.count("measures are lost") == 1
    assert caplog.text.count('{"request_id"') == 3


@pytest.mark.parametrize("num_requests", [0, 1, 8])
def test_there_are_as_many_answers_as_requests(num_requests: int, folder: Path) -> None:
    data = [{"text": "stir"}] * num_requests
    context = with_requests(make_context(folder), [str(place) for place in range(num_requests)])
    assert len(started(folder).handle(data, context)) == num_requests


def test_a_defect_is_answered_under_the_servers_request_id(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    handler = started(folder)
    monkeypatch.setattr(handler.pipeline.scorer, "score", lambda _: 1 / 0)
    context = with_requests(make_context(folder), ["1f6c-77"])
    (body,) = handler.handle([{"text": "stir"}], context)
    assert context.get_response_status(0) == (500, "Internal Server Error")
    assert "1f6c-77" in json.loads(body)["message"]
    assert "request 1f6c-77 failed" in caplog.text


def test_the_card_that_torchserve_assigns_chooses_the_device(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int | None] = []

    def choose(gpu_id: int | None = None) -> runtime.Runtime:
        asked.append(gpu_id)
        return runtime.Runtime(torch.device("cpu"), torch.float32, threads=1)

    monkeypatch.setattr(runtime, "choose_runtime", choose)
    for gpu_id in (None, 3):
        ActivityHandler().initialize(make_context(folder, gpu_id=gpu_id))
    assert asked == [None, 3]


@pytest.mark.parametrize("yaml", [None, {}, {"handler": None}, {"handler": {}}, {"handler": {"limits": {}}}])
def test_without_limits_in_the_yaml_the_defaults_hold(yaml: dict[str, Any] | None, folder: Path) -> None:
    assert started(folder, yaml).pipeline.limits.max_duration_seconds == 600.0


@pytest.mark.parametrize("caged", [True, False])
def test_the_yamls_limits_hold(folder: Path, monkeypatch: pytest.MonkeyPatch, *, caged: bool) -> None:
    if caged:
        monkeypatch.undo()
    handler = started(folder, {"minWorkers": 1, "handler": {"limits": {"max_text_characters": 5}}})
    with closing(handler.pipeline.decoder) if isinstance(handler.pipeline.decoder, CagedDecoder) else nullcontext():
        assert isinstance(handler.pipeline.decoder, CagedDecoder) == caged
        context = with_requests(make_context(folder), ["a", "b"])
        bodies = handler.handle([{"text": "stir it"}, {"text": "stir"}], context)
    assert context.get_response_status(0) == (413, "Content Too Large")
    assert "the limit is 5" in json.loads(bodies[0])["message"]
    assert json.loads(bodies[1])["status"] == 200


def test_an_unknown_limit_names_the_known_ones(folder: Path) -> None:
    with pytest.raises(SettingsError, match=r"handler: unknown key 'limits\.max_byte' \(known keys: .*max_bytes, "):
        started(folder, {"handler": {"limits": {"max_byte": 5}}})
    with pytest.raises(SettingsError, match=r"unknown key 'limit' \(known keys: cage, limits, requests_per_child\)"):
        started(folder, {"handler": {"limit": {}}})
    with pytest.raises(SettingsError, match=r"'limits\.max_bytes' is 0: input should be greater than or equal to 1"):
        started(folder, {"handler": {"limits": {"max_bytes": 0}}})


def test_an_archive_without_a_checkpoint_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"has no model\.json"):
        started(tmp_path)


def test_the_explanations_address_holds_for_its_request_alone(folder: Path) -> None:
    data: list[dict[str, Any]] = [{"text": "stir"}] * 3 + [{"text": "stir", "options": '{"format": "vtt"}'}]
    context = with_requests(make_context(folder), list("abcd"))
    context.request_processor = [RequestProcessor({"explain": flag}) for flag in ("True", "False", "yes", "True")]
    bodies = started(folder).handle(data, context)
    assert ["explanation" in json.loads(body) for body in bodies] == [True, False, False, False]
    (plain,) = tiny_pipeline().respond(data[:1], ["a"])
    assert bodies[1] == bodies[2] == plain.body
    assert context.get_response_status(3) == (400, "Bad Request")
    assert json.loads(bodies[3])["code"] == "invalid_options"


class Socket:
    """Takes what goes to the server, and reads it as the server does."""

    def __init__(self) -> None:
        self.messages: list[dict[str, tuple[int, str | None, bytes]]] = []

    def sendall(self, message: bytes) -> None:
        self.messages.append(read_message(bytes(message)))


def read_message(message: bytes) -> dict[str, tuple[int, str | None, bytes]]:
    """By request: its status, whether it goes on, and its body."""
    place = 0

    def number() -> int:
        nonlocal place
        place += 4
        return int.from_bytes(message[place - 4 : place], "big", signed=True)

    def text() -> bytes:
        nonlocal place
        length = number()
        place += length
        return message[place - length : place]

    assert number() == 200
    text()
    found: dict[str, tuple[int, str | None, bytes]] = {}
    while (length := number()) != -1:
        place += length
        request_id = message[place - length : place].decode()
        text()  # content type
        status = number()
        text()  # phrase
        headers = {text().decode(): text().decode() for _ in range(number())}
        found[request_id] = (status, headers.get("ts_stream_next"), text())
    assert place == len(message)
    return found


def last_message(bodies: list[bytes], context: Any) -> dict[str, tuple[int, str | None, bytes]]:
    """What the server's own service makes of a batch's bodies."""
    return read_message(bytes(create_predict_response(bodies, context.request_ids, "", 200, context)))


def test_answers_that_come_piece_by_piece_hold_up_no_other(folder: Path) -> None:
    sound = render("wav", Sound(codec="pcm_s16le", seconds=70.0))  # three pieces
    data: list[dict[str, Any]] = [
        {"audio": sound, "options": '{"stream": true, "extras": ["windows"]}'},
        {"clip": b"?"},
        {"text": "stir", "options": '{"stream": true}'},
        {"text": "stir"},
    ]
    context = with_requests(make_context(folder), ["a", "b", "c", "d"])
    for place in range(3):  # the last one came by gRPC
        context.request_processor[place] = RequestProcessor({"explain": "False"})
    context.cl_socket = socket = Socket()
    bodies = started(folder).handle(data, context)
    messages = [*socket.messages, last_message(bodies, context)]
    assert context.stopping_criteria is None  # the next batch has none
    whole = {name: (status, goes_on) for name, (status, goes_on, _) in messages[0].items()}
    assert whole == {"a": (200, "true"), "b": (400, None), "c": (200, "true"), "d": (200, None)}
    assert [sorted(message) for message in messages[1:]] == [["a", "c"]] * 3 + [["a"]] * 3
    going = [[message[name][1] for message in messages if name in message] for name in ("a", "c")]
    assert going == [["true"] * 6 + ["false"], ["true"] * 3 + ["false"]]
    (ordinary,) = tiny_pipeline().respond([{"text": "stir"}], ["d"])
    assert messages[0]["d"][2] == ordinary.body
    for name, windows in (("a", 137), ("c", 0)):
        body = b"".join(message[name][2] for message in messages if name in message)
        kinds = [json.loads(line)["type"] for line in body.splitlines()]
        assert (kinds[0], kinds[-1], kinds.count("window")) == ("header", "end", windows)


def test_a_batch_of_streams_alone_ends_with_the_server_s_own_message(folder: Path) -> None:
    context = with_requests(make_context(folder), ["a"])
    context.request_processor[0] = RequestProcessor({"explain": "False"})
    context.cl_socket = socket = Socket()
    bodies = started(folder).handle([{"text": "stir", "options": '{"stream": true}'}], context)
    assert {message["a"][1] for message in socket.messages} == {"true"}
    assert last_message(bodies, context) == {"a": (200, "false", b"")}


def test_a_stream_is_counted_when_it_is_over(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    context = with_requests(make_context(folder), ["a", "b"])
    context.request_processor = [RequestProcessor({"explain": "False"}) for _ in range(2)]
    context.cl_socket = Socket()
    context.metrics = Metrics()
    handler = started(folder)
    caplog.clear()
    with caplog.at_level("INFO"):
        handler.handle([{"text": "stir", "options": '{"stream": true}'}, {"text": "stir"}], context)
    lines = [json.loads(line) for line in caplog.messages if line.startswith('{"request_id"')]
    assert [(line["request_id"], line["code"], line["windows"]) for line in lines] == [("b", "ok", 1), ("a", "ok", 1)]
    told = [(name, value) for name, kind, value, _ in context.metrics.told if kind == "histogram" or value]
    assert [value for name, value in told if name == "activity_batch_fill_ratio"] == [0.25]
    assert [value for name, value in told if name == "activity_requests_total"] == [1, 1]
