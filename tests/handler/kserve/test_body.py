from __future__ import annotations

import base64
import json
import struct
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handler.errors import LimitExceeded
from handler.kserve import binary as kserve_binary
from handler.kserve.body import GRPC_BODY, check_alone, fold, unfold
from handler.limits import Limits
from handler.options import RequestOptions
from handler.pipeline import ActivityPipeline
from handler.request import ActivityRequest
from handler.response import Response
from handler.runtime import choose_runtime
from tests.handler.requests import tiny_checkpoint, tiny_pipeline
from tests.media import Sound, render

SOUND = render("wav", Sound(codec="pcm_s16le", seconds=1.0))
BASE64 = base64.b64encode(SOUND).decode()
V2_ANSWER = ["outputs", 0, "data", 0]


@pytest.fixture(scope="module")
def pipeline() -> ActivityPipeline:
    return tiny_pipeline()


def ask(pipeline: ActivityPipeline, raw: dict[str, Any]) -> tuple[Response, dict[str, Any]]:
    (response,) = pipeline.respond([raw], ["x"])
    assert response.content_type == "application/json"
    values = json.loads(response.body)
    assert isinstance(values, dict)
    return response, values


def plain(pipeline: ActivityPipeline, **parts: Any) -> bytes:
    (response,) = pipeline.respond([parts], ["x"])
    return response.body


def tensor(name: str, *elements: Any, **others: Any) -> dict[str, Any]:
    return {"name": name, "datatype": "BYTES", "shape": [len(elements)], "data": list(elements), **others}


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize("parsed", [True, False])
def test_the_instances_of_v1_are_answered_in_order_each_as_if_alone(pipeline: ActivityPipeline, parsed: bool) -> None:
    instances = [{"video": BASE64, "options": {"top_k": 1}}, {"text": "stir"}, {"b64": BASE64}, 3, {"video": "?"}]
    body = {"instances": instances}
    response, values = ask(pipeline, {"body": body if parsed else bytearray(json.dumps(body).encode())})
    assert (response.status, list(values)) == (200, ["predictions"])
    expected = [
        plain(pipeline, video=SOUND, options={"top_k": 1}),
        plain(pipeline, text="stir"),
        plain(pipeline, video=SOUND),
    ]
    assert response.body.startswith(b'{"predictions":[' + b",".join(expected))
    assert [prediction["status"] for prediction in values["predictions"]] == [200, 200, 200, 400, 400]
    assert values["predictions"][3]["message"] == "an instance must be a JSON object, got a number"
    assert values["predictions"][4]["message"] == "field 'video' is not valid base64"


def test_v1_takes_media_as_text_or_as_b64(pipeline: ActivityPipeline) -> None:
    _, values = ask(pipeline, {"body": {"instances": [{"audio": {"b64": BASE64}}, {"audio": BASE64}]}})
    first, second = values["predictions"]
    assert first == second
    assert first["modalities"]["audio"] == {"used": True}


def test_the_parameters_hold_where_an_instance_has_no_options(pipeline: ActivityPipeline) -> None:
    instances = [{"text": "stir"}, {"text": "stir", "options": {"top_k": 2}}]
    _, values = ask(pipeline, {"body": {"instances": instances, "parameters": {"top_k": 1}}})
    assert [len(prediction["activities"]) for prediction in values["predictions"]] == [1, 2]


@pytest.mark.parametrize("format", ["vtt", "srt", "ndjson"])
def test_other_formats_are_text_in_the_answer(pipeline: ActivityPipeline, format: str) -> None:  # noqa: A002
    options = {"format": format}
    expected = plain(pipeline, text="stir", options=options).decode()
    _, values = ask(pipeline, {"body": {"instances": [{"text": "stir", "options": options}]}})
    assert values == {"predictions": [expected]}
    _, values = ask(pipeline, {"body": {"inputs": [tensor("text", "stir")], "parameters": options}})
    assert values["outputs"][0]["data"] == [expected]


def test_v2_is_answered_in_its_own_form(pipeline: ActivityPipeline) -> None:
    body = {
        "id": "7",
        "inputs": [tensor("audio", BASE64), tensor("text", "stir")],
        "outputs": [{"name": "answer"}],
        "parameters": {"top_k": 1, "binary_data_output": True},
    }
    response, values = ask(pipeline, {"body": body})
    expected = plain(pipeline, audio=SOUND, text="stir", options={"top_k": 1}).decode()
    assert response.status == 200
    assert values == {
        "id": "7",
        "model_name": "tiny",
        "model_version": "0.1",
        "outputs": [{"name": "answer", "datatype": "BYTES", "shape": [1], "data": [expected]}],
    }


def test_each_element_of_v2_is_an_instance(pipeline: ActivityPipeline) -> None:
    inputs = [
        tensor("audio", BASE64, None, "?", ""),
        tensor("text", "stir", "chop", "stir", None),
        tensor("options", '{"top_k": 1}'),
    ]
    response, values = ask(pipeline, {"body": {"inputs": inputs}})
    assert response.status == 200
    assert values["outputs"][0]["shape"] == [4]
    options = {"top_k": 1}
    data = values["outputs"][0]["data"]
    assert data[0].encode() == plain(pipeline, audio=SOUND, text="stir", options=options)
    assert data[1].encode() == plain(pipeline, text="chop", options=options)
    assert json.loads(data[2])["message"] == "field 'audio' is not valid base64"
    assert "has none of the parts" in json.loads(data[3])["message"]


def test_v2_takes_columns_and_marked_base64(pipeline: ActivityPipeline) -> None:
    column = {"name": "text", "datatype": "BYTES", "shape": [2, 1], "data": [["stir"], ["chop"]]}
    marked = tensor("text", b64("stir"), b64("chop"), parameters={"content_type": "base64"})
    flat = {**column, "data": ["stir", "chop"]}
    answers = [ask(pipeline, {"body": {"inputs": [inputs]}})[1] for inputs in (column, marked, flat)]
    assert answers[0] == answers[1] == answers[2]


def test_of_a_grpc_call_all_is_base64_and_the_answer_has_what_the_server_needs(pipeline: ActivityPipeline) -> None:
    inputs = [tensor("text", b64("händ")), tensor("options", b64('{"top_k": 1}'))]
    response, values = ask(pipeline, {GRPC_BODY: {"id": "", "model_name": "activity", "inputs": inputs}})
    assert response.status == 200
    assert values["id"] == ""
    expected = plain(pipeline, text="händ", options={"top_k": 1})
    assert values["outputs"][0]["data"] == [json.loads(expected)]
    assert expected in response.body


@pytest.mark.parametrize(
    "body", [{}, {"inputs": []}, {"inputs": None}, {"id": 3, "inputs": []}, {"instances": [], "x": 1}]
)
def test_whatever_a_grpc_call_brings_is_answered_in_the_servers_form(
    pipeline: ActivityPipeline, body: dict[str, Any]
) -> None:
    _, values = ask(pipeline, {GRPC_BODY: body})
    assert [*values][:4] == ["id", "model_name", "model_version", "outputs"]
    assert isinstance(values["id"], str)
    assert values["outputs"][0]["data"][0]["code"] == "invalid_request"


def test_a_body_of_which_nothing_is_answered_has_the_first_errors_status(pipeline: ActivityPipeline) -> None:
    response, values = ask(pipeline, {"body": {"instances": [{"video": b64("no media")}, {}]}})
    assert (response.status, response.phrase) == (422, "Unprocessable Content")
    assert values["error"] == values["message"] == values["predictions"][0]["message"]
    assert values["code"] == "undecodable_media"
    response, values = ask(pipeline, {"body": {"id": "a", "inputs": [tensor("video", b64("no media"))]}})
    assert response.status == 422
    assert (values["id"], values["code"]) == ("a", "undecodable_media")
    assert json.loads(values["outputs"][0]["data"][0])["message"] == values["error"]


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ({"instances": []}, "invalid_request", "at least one"),
        ({"instances": {}}, "invalid_request", "got a JSON object"),
        ({"instances": [{}], "video": ""}, "invalid_request", "unknown field 'video'"),
        ({"instances": [{}], "parameters": 1}, "invalid_request", "'parameters' must be a JSON object"),
        ({"instances": [{}] * 9}, "limit_instances", "at most 8 are allowed"),
        ({"inputs": {}}, "invalid_request", "got a JSON object"),
        ({"inputs": [1]}, "invalid_request", "got a number"),
        ({"inputs": [tensor("text", "a")], "x": 1}, "invalid_request", "unknown field 'x'"),
        ({"inputs": [tensor("text", "a")], "id": 1}, "invalid_request", "'id' must be text"),
        ({"inputs": [tensor("text", "a")], "id": "x" * 1025}, "invalid_request", "at most 1024 characters"),
        ({"inputs": [tensor("text", "a")], "outputs": [{"name": "b"}]}, "invalid_request", "may name 'answer'"),
        ({"inputs": [tensor("text", "a")], "outputs": 1}, "invalid_request", "may name 'answer'"),
        ({"inputs": [tensor("clip", "a")]}, "unknown_part", "unknown input 'clip'"),
        ({"inputs": [tensor("text", "a"), tensor("text", "a")]}, "invalid_request", "stands twice"),
        ({"inputs": [tensor("text", "a", datatype="FP32")]}, "invalid_request", "the datatype BYTES, got 'FP32'"),
        ({"inputs": [tensor("text", "a", shape=[])]}, "invalid_request", "shape [N] or [N, 1]"),
        ({"inputs": [tensor("text", "a", shape=[True])]}, "invalid_request", "shape [N] or [N, 1]"),
        ({"inputs": [tensor("text", "a", shape=[-1])]}, "invalid_request", "shape [N] or [N, 1]"),
        ({"inputs": [tensor("text", "a", shape=[1, 2])]}, "invalid_request", "1 elements, its shape [1, 2] says 2"),
        ({"inputs": [tensor("text", shape=[1])]}, "invalid_request", "0 elements, its shape [1] says 1"),
        ({"inputs": [tensor("text", "a", data="a")]}, "invalid_request", "must have a list as data, got text"),
        ({"inputs": [tensor("text", "a"), tensor("audio", "a", "b")]}, "invalid_request", "another has 2"),
        ({"inputs": [tensor("text", *"123456789")]}, "limit_instances", "at most 8 are allowed"),
        ({"inputs": [tensor("text", 1)]}, "invalid_request", "must hold text, got a number"),
        ({"inputs": [tensor("text", "a")], "parameters": {"nonsense": 1}}, "invalid_options", "nonsense"),
    ],
)
def test_refusals_say_what_is_wrong(pipeline: ActivityPipeline, body: dict[str, Any], code: str, words: str) -> None:
    response, values = ask(pipeline, {"body": body})
    assert values["code"] == code
    assert words in values["message"]
    assert values["error"] == values["message"]
    assert response.status == values["status"] == (413 if code == "limit_instances" else 400)


def test_the_bytes_of_all_instances_are_bounded() -> None:
    limits = Limits(max_instances_bytes=len(SOUND) * 3 // 2)
    once = {"body": {"instances": [{"video": BASE64}]}}
    assert unfold(once, limits).error is None
    twice = {"body": {"instances": [{"video": {"b64": BASE64}}, {"b64": BASE64}]}}
    for raw in (twice, {"body": {"inputs": [tensor("video", BASE64, BASE64)]}}):
        assert isinstance(unfold(raw, limits).error, LimitExceeded)


def test_an_answer_that_the_server_would_not_bear_is_a_refusal() -> None:
    unfolded = unfold({"body": {"id": "7", "inputs": [tensor("text", "a", "b")]}}, Limits())
    answer = Response(200, "OK", "application/json", b'{"status":200,"label":"' + b"x" * 1_000 + b'"}')
    limits = Limits(max_answers_bytes=2_000)
    assert fold(unfolded, [answer, answer], "m", "1", Limits()).status == 200
    refused = fold(unfolded, [answer, answer], "m", "1", limits)
    assert (refused.status, json.loads(refused.body)["code"]) == (413, "limit_answers")
    assert len(refused.body) < 2_000


def test_the_clips_of_a_body_together_last_no_longer_than_a_requests() -> None:
    pipeline = ActivityPipeline(
        tiny_checkpoint(), runtime=choose_runtime(threads=1), limits=Limits(max_duration_seconds=1.5)
    )
    response, _ = ask(pipeline, {"body": {"instances": [{"video": BASE64}]}})
    assert response.status == 200
    response, values = ask(pipeline, {"body": {"instances": [{"video": BASE64}, {"video": BASE64}]}})
    assert (response.status, values["code"]) == (413, "limit_seconds")
    assert "0.75 s" in values["message"]


def test_what_generates_words_is_for_bodies_of_one_instance() -> None:
    described = RequestOptions(extras=("descriptions",))

    def request(number: int, options: RequestOptions) -> ActivityRequest:
        return ActivityRequest(video=SOUND, audio=None, text=None, options=options, num_instances=number)

    check_alone(request(1, described), transcribed=True)
    check_alone(request(2, RequestOptions()), transcribed=False)
    for options, transcribed in ((described, False), (RequestOptions(), True)):
        with pytest.raises(LimitExceeded, match="bodies of 1 instance, this one has 2"):
            check_alone(request(2, options), transcribed=transcribed)


def test_bodies_in_a_batch_do_not_touch_one_another(pipeline: ActivityPipeline) -> None:
    items: list[dict[str, Any]] = [
        {"text": "stir"},
        {"body": {"instances": [{"text": "stir"}, {"text": "chop"}]}},
        {"body": {"inputs": []}},
        {"body": bytearray(SOUND)},
        {"body": {"inputs": [tensor("text", "chop")]}},
    ]
    together = pipeline.respond(items, list("abcde"))
    assert together == [pipeline.respond([item], ["x"])[0] for item in items]


def binary_body(*tensors: tuple[str, list[bytes]], **changed: Any) -> bytearray:
    """A v2 body with its tensors after the JSON."""
    tails = [b"".join(len(element).to_bytes(4, "little") + element for element in own) for _, own in tensors]
    inputs = [
        {
            "name": name,
            "datatype": "BYTES",
            "shape": [len(own)],
            "parameters": {"binary_data_size": changed.get("binary_data_size", len(tail))},
        }
        for (name, own), tail in zip(tensors, tails, strict=True)
    ]
    return bytearray(json.dumps({"inputs": inputs}).encode() + b"".join(tails))


def test_tensors_may_follow_the_json_as_they_are(pipeline: ActivityPipeline) -> None:
    body = binary_body(("audio", [SOUND, b""]), ("text", ["händ".encode(), b"stir"]), ("options", [b'{"top_k": 1}']))
    response, values = ask(pipeline, {"body": body})
    assert response.status == 200
    options = {"top_k": 1}
    assert [answer.encode() for answer in values["outputs"][0]["data"]] == [
        plain(pipeline, audio=SOUND, text="händ", options=options),
        plain(pipeline, text="stir", options=options),
    ]


@pytest.mark.parametrize("size", [-1, 10, True, "8", None, 2**70])
def test_a_wrong_binary_size_is_told(pipeline: ActivityPipeline, size: Any) -> None:
    _, values = ask(pipeline, {"body": binary_body(("text", [b"stir"]), binary_data_size=size)})
    assert values["code"] == "invalid_request"
    assert "binary_data_size" in values["message"]
    assert "8 bytes are there" in values["message"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (binary_body(("text", [b"stir"])) + b"more", "4 bytes after the JSON belong to no input"),
        (binary_body(("text", [b"stir"]), binary_data_size=7), "breaks off"),
        (binary_body(("text", [b"stir"]), binary_data_size=3), "breaks off"),
        (binary_body(("text", [b"stir"]), binary_data_size=0), "0 elements"),
        (bytearray(json.dumps({"instances": [{}]}).encode() + b"more"), "no valid JSON"),
    ],
)
def test_binary_data_that_does_not_fit_is_told(pipeline: ActivityPipeline, body: bytearray, words: str) -> None:
    response, values = ask(pipeline, {"body": body})
    assert response.status == 400
    assert words in values["message"]


@given(st.binary(max_size=40), st.integers(0, 40))
def test_any_bytes_after_the_json_are_an_answer_or_a_refusal(tail: bytes, size: int) -> None:
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": size}}
    response, _ = ask(SHARED, {"body": bytearray(json.dumps({"inputs": [tensor]}).encode() + tail)})
    assert response.status in (200, 400)


@pytest.mark.parametrize(
    "raw",
    [
        {"body": bytearray(SOUND)},
        {"body": {"text": 'the words "instances" and "inputs"'}},
        {"body": bytearray(b'{"text": "the words \\"inputs\\" and \\"instances\\""}')},
        {"body": '{"instances": "of text"}'},
        {"body": bytearray(b'{"instances": [}')},
        {"instances": b"x"},
        {"body": b"x", "inputs": b"x"},
        {},
    ],
)
def test_an_ordinary_request_stays_as_it_came(raw: dict[str, Any]) -> None:
    unfolded = unfold(raw, Limits())
    assert unfolded.protocol is None
    assert unfolded.instances == (raw,)
    assert unfolded.instances[0] is raw


def test_a_sequence_of_vectors_may_have_the_protocols_name() -> None:
    raw = {"body": {"inputs": [[1.0], [2.0]]}}
    assert unfold(raw, Limits(), vectors=("inputs",)).protocol is None
    assert unfold(raw, Limits()).protocol == "v2"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize(("count", "status"), [(1, 400), (1_000_000, 413)])
def test_millions_of_empty_elements_are_not_read(
    pipeline: ActivityPipeline, monkeypatch: pytest.MonkeyPatch, count: int, status: int
) -> None:
    read: list[bytes] = []
    monkeypatch.setattr(kserve_binary, "_LENGTH", CountedLengths(read))
    tensor = {"name": "text", "datatype": "BYTES", "shape": [count], "parameters": {"binary_data_size": 4_000_000}}
    body = bytearray(json.dumps({"inputs": [tensor]}).encode() + bytes(4_000_000))
    response, _ = ask(pipeline, {"body": body})
    assert response.status == status
    assert len(read) <= 2


class CountedLengths:
    """Reads a length as ever, and notes that it did."""

    size = 4

    def __init__(self, read: list[bytes]) -> None:
        self._read = read

    def unpack(self, content: bytes) -> tuple[Any, ...]:
        self._read.append(content)
        return struct.unpack("<I", content)


def test_an_ordinary_answer_that_the_worker_would_die_of_is_an_error() -> None:
    small = ActivityPipeline(tiny_checkpoint(), runtime=choose_runtime(), limits=Limits(max_answers_bytes=500))
    responses = small.respond([{"text": "stir", "options": {"extras": ["windows"]}}, {"text": "stir"}], ["a", "b"])
    assert [response.status for response in responses] == [413, 200]
    assert json.loads(responses[0].body)["code"] == "limit_answers"


def test_errors_do_not_hold_what_was_sent(pipeline: ActivityPipeline) -> None:
    """The options of a body are written anew for each instance: a body of 90 MB would leave eight such texts."""
    body = {"instances": [{"text": "stir"}] * 8, "parameters": {"other": "x" * 4_000_000}}
    tracemalloc.start()
    (response,) = pipeline.respond([{"body": body}], ["x"])
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert json.loads(response.body)["code"] == "limit_options"
    assert peak_bytes < 16_000_000


def sometimes(usual: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """What belongs there, and now and then anything."""
    return st.one_of(usual, usual, usual, json_values)


contents = st.sampled_from(["stir", b64("stir"), "", "\ud800", '{"top_k": 1}', '{"a": 1}', None])
names = st.sampled_from(["video", "audio", "text", "image", "options", "tabular", "other"])
fields = st.dictionaries(names | st.just("b64"), sometimes(contents), max_size=3)
tensors = st.fixed_dictionaries(
    {
        "name": sometimes(names),
        "datatype": sometimes(st.just("BYTES")),
        "shape": sometimes(st.lists(st.integers(1, 2), min_size=1, max_size=2)),
        "data": sometimes(st.lists(contents | st.lists(contents, max_size=2), max_size=2)),
    },
    optional={"parameters": json_values},
)
options = sometimes(st.just({"format": "vtt"}))
bodies = st.fixed_dictionaries({"instances": sometimes(st.lists(fields, max_size=3))}, optional={"parameters": options})
v2_bodies = st.fixed_dictionaries(
    {"inputs": sometimes(st.lists(sometimes(tensors), max_size=3))},
    optional={"id": sometimes(st.text(max_size=4)), "parameters": options, "outputs": json_values},
)


@settings(max_examples=150, deadline=None)
@given(bodies | v2_bodies, st.sampled_from(["body", GRPC_BODY, "bytes"]))
def test_no_body_meets_a_defect(body: dict[str, Any], way: str) -> None:
    raw: dict[str, Any] = {"body": bytearray(json.dumps(body).encode())} if way == "bytes" else {way: body}
    response, values = ask(SHARED, raw)
    assert response.status in (200, 400, 413, 415, 422)
    for answer in values.get("predictions", values.get("outputs", [{}])[0].get("data", [])):
        decoded = json.loads(answer) if isinstance(answer, str) and answer.startswith("{") else answer
        assert not isinstance(decoded, dict) or decoded["status"] in (200, 400, 413, 415, 422)
    assert ("error" in values) == (response.status != 200)


SHARED = tiny_pipeline()
