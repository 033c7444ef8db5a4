"""Every presentation in which TorchServe hands over a request."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.errors import ActivityError, InvalidOptions, InvalidRequest, LimitExceeded, UnknownPart
from handler.limits import Limits
from handler.options import RequestOptions
from handler.request import ActivityRequest, parse_request

LIMITS = Limits(max_bytes=1_000)
VIDEO = b"\x00\x00\x00\x18ftypmp42 picture"
AUDIO = b"RIFF\x10\x00\x00\x00WAVE sound"
WORDS = "WEBVTT\n\n00:01.000 --> 00:02.000\nclap\n"
TOP_3 = RequestOptions(top_k=3)


def encoded(media: bytes) -> str:
    return base64.b64encode(media).decode("ascii")


def request(
    video: bytes | None = None,
    audio: bytes | None = None,
    text: bytes | str | None = None,
    options: RequestOptions | None = None,
) -> ActivityRequest:
    return ActivityRequest(video=video, audio=audio, text=text, options=options or RequestOptions())


def refusal(raw: Mapping[str, Any], kind: type[ActivityError] = InvalidRequest) -> ActivityError:
    with pytest.raises(ActivityError) as caught:
        parse_request(raw, LIMITS)
    assert type(caught.value) is kind
    assert caught.value.remedy
    return caught.value


JSON_BODY = {"video": encoded(VIDEO), "audio": encoded(AUDIO), "text": WORDS, "options": {"top_k": 3}}


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        # parts: multipart with and without a filename, gRPC
        ({"video": bytearray(VIDEO)}, request(VIDEO)),
        ({"audio": bytearray(AUDIO)}, request(audio=AUDIO)),
        ({"text": WORDS}, request(text=WORDS)),
        ({"text": bytearray(WORDS.encode())}, request(text=WORDS.encode())),
        (
            {"video": bytearray(VIDEO), "audio": bytearray(AUDIO), "text": WORDS, "options": {"top_k": 3}},
            request(VIDEO, AUDIO, WORDS, TOP_3),
        ),
        ({"video": bytearray(VIDEO), "options": bytearray(b'{"top_k": 3}')}, request(VIDEO, options=TOP_3)),
        ({"video": bytearray(VIDEO), "options": '{"top_k": 3}'}, request(VIDEO, options=TOP_3)),
        ({"video": bytearray(VIDEO), "options": memoryview(b'{"top_k": 3}')}, request(VIDEO, options=TOP_3)),
        ({"video": bytearray(VIDEO), "options": bytearray()}, request(VIDEO)),
        ({"video": memoryview(VIDEO)}, request(VIDEO)),
        ({"video": memoryview(VIDEO * 2)[::2]}, request((VIDEO * 2)[::2])),
        # sent and empty is for decode to judge
        ({"text": ""}, request(text="")),
        ({"video": bytearray()}, request(b"")),
        # a raw body
        ({"body": bytearray(VIDEO)}, request(VIDEO)),
        ({"body": bytearray(AUDIO)}, request(AUDIO)),
        ({"body": WORDS}, request(text=WORDS)),
        ({"body": bytearray(WORDS.encode())}, request(text=WORDS.encode())),
        ({"body": bytearray(b"\xef\xbb\xbf" + WORDS.encode())}, request(text=b"\xef\xbb\xbf" + WORDS.encode())),
        ({"body": "just words"}, request(text="just words")),
        ({"body": "{braces} are words too"}, request(text="{braces} are words too")),
        ({"body": '{"other": 1}'}, request(text='{"other": 1}')),
        # a JSON body: parsed by the server, or under another content type
        ({"body": JSON_BODY}, request(VIDEO, AUDIO, WORDS, TOP_3)),
        ({"body": json.dumps(JSON_BODY)}, request(VIDEO, AUDIO, WORDS, TOP_3)),
        ({"body": bytearray(json.dumps(JSON_BODY).encode())}, request(VIDEO, AUDIO, WORDS, TOP_3)),
        ({"body": bytearray(b"\xef\xbb\xbf" + json.dumps(JSON_BODY).encode())}, request(VIDEO, AUDIO, WORDS, TOP_3)),
        ({"body": bytearray(b'\r\n {"text": "words"}')}, request(text="words")),
        ({"body": {"text": "words", "video": None, "audio": None, "options": None}}, request(text="words")),
        ({"body": {"video": base64.encodebytes(VIDEO * 9).decode()}}, request(VIDEO * 9)),
        ({"body": {"video": ""}}, request(b"")),
    ],
)
def test_every_presentation(raw: dict[str, Any], expected: ActivityRequest) -> None:
    before = copy.deepcopy({name: value for name, value in raw.items() if not isinstance(value, memoryview)})
    parsed = parse_request(raw, LIMITS)
    assert parsed == expected
    for name in ("video", "audio"):
        assert type(getattr(parsed, name)) in {bytes, type(None)}
    for name, value in before.items():
        assert raw[name] == value
        assert type(raw[name]) is type(value)


def test_the_bytes_are_a_copy() -> None:
    sent = bytearray(VIDEO)
    parsed = parse_request({"video": sent}, LIMITS)
    sent[:] = b"\0" * len(sent)
    assert parsed.video == VIDEO


def test_the_repr_shows_sizes_only() -> None:
    shown = repr(request(VIDEO, None, "secret words"))
    assert shown.startswith(f"ActivityRequest(video={len(VIDEO)}, text=12, ")
    assert "secret" not in shown


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"body": bytearray()},
        {"body": ""},
        {"body": b""},
        {"body": {}},
        {"body": bytearray(b"{}")},
        {"body": {"video": None}},
        {"options": bytearray(b'{"top_k": 3}')},
    ],
)
def test_an_empty_request_is_told_how_to_send(raw: dict[str, Any]) -> None:
    error = refusal(raw)
    assert (error.status, error.code) == (400, "invalid_request")
    assert "curl -F video=@clip.mp4" in error.remedy
    assert '{"video": "<base64>"' in error.remedy


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"video": "words"}, "part 'video' must be bytes, got text"),
        ({"video": {"a": 1}}, "part 'video' must be bytes, got a JSON object"),
        ({"audio": [1, 2]}, "part 'audio' must be bytes, got a JSON list"),
        ({"audio": 4.5}, "part 'audio' must be bytes, got a number"),
        ({"text": {"words": "clap"}}, "part 'text' must be text, got a JSON object"),
        ({"text": True}, "part 'text' must be text, got a boolean"),
        ({"body": [1]}, "a JSON body must be an object, got a JSON list"),
        ({"body": 7}, "a JSON body must be an object, got a number"),
        ({"body": None}, "a JSON body must be an object, got null"),
        ({"body": {"video": 7}}, "field 'video' must be a base64 string, got a number"),
        ({"body": {"audio": {"b64": ""}}}, "field 'audio' must be a base64 string, got a JSON object"),
        ({"body": {"text": ["clap"]}}, "field 'text' must be a string, got a JSON list"),
        ({"body": {"text": "half a pair \ud800"}}, "'text' is not valid Unicode at character 12"),
    ],
)
def test_a_part_of_the_wrong_kind_is_named(raw: dict[str, Any], message: str) -> None:
    assert refusal(raw).message == message


@pytest.mark.parametrize(
    "broken", ["a", "ab=", "abc", "a=bc", "abcd=", "abcd====", "====", "ab==cd==", "ab-_", "äbcd", "data:video/mp4,"]
)
@pytest.mark.parametrize("name", ["video", "audio"])
def test_broken_base64_names_the_field(name: str, broken: str) -> None:
    error = refusal({"body": {name: broken, "text": "words"}})
    assert error.message == f"field '{name}' is not valid base64"
    assert f"field '{name}'" in error.remedy


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"video": "AAAA"', "the body is no valid JSON: Expecting"),
        (b'{"video": "AAAA", "video": "BBBB"}', "'video' stands twice"),
        (b'{"options": {"threshold": NaN}}', "NaN is no JSON number"),
        (b'{"video": ' + b"[" * 100_000, "nested too deeply"),
        (b'{"video": ' + b"9" * 5_000 + b"}", "too many digits"),
        (b'{"text": "\xff"}', "not UTF-8 at byte 10"),
    ],
)
def test_broken_json_says_where(body: bytes, message: str) -> None:
    assert message in refusal({"body": bytearray(body)}).message


@pytest.mark.parametrize(
    ("raw", "unknown"),
    [
        ({"vidoe": b"x"}, "part 'vidoe'"),
        ({"Video": b"x", "text": "words"}, "part 'Video'"),
        ({"body": b"x", "options": b"{}"}, "part 'body'"),
        ({"imu": b"x"}, "part 'imu'"),
        ({"body": {"instances": []}}, "field 'instances'"),
        ({"body": bytearray(b'{"a": 1}')}, "field 'a'"),
    ],
)
def test_an_unknown_part_names_the_known_ones(raw: dict[str, Any], unknown: str) -> None:
    kind = unknown.split(maxsplit=1)[0]
    message = f"unknown {unknown} (known {kind}s: video, audio, text, image, tabular, depth, options, state)"
    error = refusal(raw, UnknownPart)
    assert error.message == message
    assert (error.status, error.code) == (400, "unknown_part")
    assert error.remedy == f"Rename or leave out the {kind}; names are case-sensitive."


def test_a_file_that_came_as_a_form_is_told_to_come_with_its_type() -> None:
    error = refusal({"\0\0\0 ftypisom": b"x"}, UnknownPart)
    assert error.remedy == "A file that is the whole body needs its type, such as Content-Type: video/mp4."


@pytest.mark.parametrize(
    "options", [b'{"topk": 3}', '{"top_k": true}', {"top_k": 0}, [1], 7, b"{", b'{"top_k": 1, "top_k": 2}']
)
def test_faulty_options_are_refused(options: Any) -> None:
    assert refusal({"video": b"x", "options": options}, InvalidOptions).message.startswith("options: ")


@pytest.mark.parametrize(
    ("part", "body"),
    [
        ({"video": bytearray(1_000)}, {"video": bytearray(1_001)}),
        ({"audio": memoryview(bytes(1_000))}, {"audio": memoryview(bytes(1_001))}),
        ({"text": "é" * 500}, {"text": "é" * 500 + "x"}),
        ({"text": b"w" * 1_000}, {"text": b"w" * 1_001}),
        ({"body": bytearray(1_000)}, {"body": bytearray(1_001)}),
        ({"body": "w" * 1_000}, {"body": "w" * 1_001}),
        ({"body": {"video": encoded(bytes(1_000))}}, {"body": {"video": encoded(bytes(1_001))}}),
        ({"body": {"audio": encoded(bytes(999))}}, {"body": {"audio": encoded(bytes(1_002))}}),
        (
            {"body": bytearray(json.dumps({"video": encoded(bytes(1_000))}).encode())},
            {"body": bytearray(json.dumps({"video": encoded(bytes(1_001))}).encode())},
        ),
    ],
)
def test_the_limit_is_the_last_size_that_passes(part: dict[str, Any], body: dict[str, Any]) -> None:
    assert isinstance(parse_request(part, LIMITS), ActivityRequest)
    error = refusal(body, LimitExceeded)
    assert error.status == 413
    assert error.message.endswith("bytes, at most 1000 are allowed")


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_media_pass_unchanged(video: bytes, audio: bytes) -> None:
    parts = parse_request({"video": bytearray(video), "audio": bytearray(audio)}, LIMITS)
    body = parse_request({"body": {"video": encoded(video), "audio": encoded(audio)}}, LIMITS)
    assert parts == body == request(video, audio)


TABLE = {"guests": 4}
SWING = [[0.0, 1.0]]
PARQUET = b"PAR1 columns PAR1"


@pytest.mark.parametrize(
    ("raw", "parts"),
    [
        ({"image": bytearray(b"png"), "depth": memoryview(b"mkv")}, {"image": b"png", "depth": b"mkv"}),
        ({"tabular": TABLE, "imu": SWING}, {"tabular": TABLE, "imu": SWING}),
        ({"tabular": bytearray(b"a\n1\n"), "imu": "x\n1\n"}, {"tabular": b"a\n1\n", "imu": "x\n1\n"}),
        ({"body": {"image": encoded(b"png"), "tabular": [TABLE]}}, {"image": b"png", "tabular": [TABLE]}),
        ({"body": {"imu": encoded(PARQUET), "tabular": "a\n1\n"}}, {"tabular": "a\n1\n", "imu": PARQUET}),
        ({"body": json.dumps({"imu": SWING})}, {"imu": SWING}),
        ({"body": json.dumps({"imu": SWING, "gaze": None}).encode()}, {"imu": SWING}),
    ],
)
def test_tables_come_as_files_as_text_and_as_json(raw: dict[str, Any], parts: dict[str, Any]) -> None:
    assert parse_request(raw, LIMITS, ("imu", "gaze")).parts == parts


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"image": "words"}, "part 'image' must be bytes, got text"),
        ({"tabular": 7}, "'tabular' must be a table, got a number"),
        ({"body": {"imu": True}}, "'imu' must be a table, got a boolean"),
        ({"body": {"imu": "UEFSMQ=bad"}}, "field 'imu' is not valid base64"),
        ({"body": {"depth": [1]}}, "field 'depth' must be a base64 string, got a JSON list"),
        ({"options": {"top_k": 3}}, "the request has none of the parts video, audio, text, image, tabular, depth, imu"),
    ],
)
def test_a_table_of_the_wrong_kind_is_named(raw: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_request(raw, LIMITS, ("imu",))
    assert caught.value.message == message


def test_an_unknown_part_names_the_models_sequences_too() -> None:
    with pytest.raises(UnknownPart, match=r"tabular, depth, imu, gaze, options, state\)"):
        parse_request({"vidoe": b"x"}, LIMITS, ("imu", "gaze"))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.binary().map(bytearray),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
names = st.sampled_from(["body", "video", "audio", "text", "options", "image", "tabular", "imu"])


@given(st.dictionaries(names | st.text(max_size=5), json_values, max_size=4))
def test_anything_is_a_request_or_an_error_of_the_tree(raw: dict[str, Any]) -> None:
    try:
        outcome: ActivityRequest | ActivityError = parse_request(raw, LIMITS, ("imu",))
    except ActivityError as error:
        outcome = error
    assert isinstance(outcome, ActivityRequest) or outcome.status in {400, 413}
