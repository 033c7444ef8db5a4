from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.errors import InvalidOptions, LimitExceeded
from handler.limits import Limits
from handler.options import RequestOptions, ResolvedOptions, parse_options, resolve_options
from models.config import DecisionConfig, ModelConfig, WindowConfig

LIMITS = Limits()
CONFIG = ModelConfig(
    labels=("walk", "run", "sit"),
    windows=WindowConfig(stride_seconds=0.5, hops=4),
    decision=DecisionConfig(smoothing_windows=5, lookahead_windows=2, threshold=0.3, min_segment_seconds=1.0, top_k=5),
)


def resolved(**options: Any) -> ResolvedOptions:
    return resolve_options(parse_options(options, LIMITS), CONFIG)


def refusal(raw: str | bytes | Mapping[str, Any]) -> str:
    with pytest.raises(InvalidOptions) as caught:
        resolve_options(parse_options(raw, LIMITS), CONFIG)
    assert caught.value.status == 400
    assert caught.value.code == "invalid_options"
    assert caught.value.remedy
    return caught.value.message


@pytest.mark.parametrize("raw", [None, "", b"", " \n", b"\t", "{}", b"{}", {}, "null", b"null"])
def test_without_options_the_model_decides(raw: str | bytes | Mapping[str, Any] | None) -> None:
    options = parse_options(raw, LIMITS)
    assert options == RequestOptions()
    assert resolve_options(options, CONFIG) == ResolvedOptions(
        labels=CONFIG.labels,
        choice=None,
        top_k=5,
        threshold=0.3,
        stride_windows=1,
        smoothing_windows=5,
        lookahead_windows=2,
        min_segment_seconds=1.0,
        allowed=(True, True, True),
        extras=frozenset(),
        format="json",
    )


def test_every_option_is_taken() -> None:
    raw = {
        "top_k": 2,
        "threshold": 0.75,
        "stride_seconds": 1.5,
        "smoothing_windows": 9,
        "lookahead_windows": 0,
        "min_segment_seconds": 0,
        "include_labels": ["sit", "walk"],
        "exclude_labels": ["walk"],
        "extras": ["timing", "windows"],
        "format": "json",
    }
    expected = ResolvedOptions(
        labels=CONFIG.labels,
        choice=None,
        top_k=2,
        threshold=0.75,
        stride_windows=3,
        smoothing_windows=9,
        lookahead_windows=0,
        min_segment_seconds=0.0,
        allowed=(False, False, True),
        extras=frozenset({"timing", "windows"}),
        format="json",
    )
    for form in (raw, json.dumps(raw), json.dumps(raw).encode()):
        assert resolve_options(parse_options(form, LIMITS), CONFIG) == expected


def test_null_is_not_given() -> None:
    assert resolved(top_k=None, threshold=None, include_labels=None) == resolved()


def test_an_unknown_option_names_the_known_ones() -> None:
    message = refusal({"topk": 3})
    assert message.startswith("options: unknown key 'topk' (known keys: ")
    for name in RequestOptions.model_fields:
        assert name in message


@pytest.mark.parametrize(
    ("name", "low", "high", "outside"),
    [
        ("top_k", 1, 1000, (0, 1001)),
        ("threshold", 0.0, 1.0, (-0.001, 1.001)),
        ("smoothing_windows", 1, 101, (0, 102)),
        ("min_segment_seconds", 0.0, 3600.0, (-0.1, 3600.1)),
        ("lookahead_windows", 0, 4, (-1, 5, 101)),
        ("stride_seconds", 0.5, 2.0, (0, -0.5, 2.5)),
    ],
)
def test_ranges(name: str, low: float, high: float, outside: tuple[float, ...]) -> None:
    for value in (low, high):
        assert getattr(parse_options({name: value}, LIMITS), name) == value
        assert isinstance(resolved(**{name: value}), ResolvedOptions)
    for value in outside:
        assert name in refusal({name: value})


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ('{"top_k": true}', ("top_k", "True", "integer")),
        ('{"top_k": 3.0}', ("top_k", "integer")),
        ('{"top_k": "3"}', ("top_k", "integer")),
        ('{"threshold": "0.5"}', ("threshold", "number")),
        ('{"threshold": false}', ("threshold", "number")),
        ('{"threshold": NaN}', ("NaN",)),
        ('{"threshold": 1e999}', ("threshold", "finite")),
        ('{"threshold": ' + "9" * 400 + "}", ("threshold", "number")),
        ('{"top_k": ' + "9" * 5000 + "}", ("too many digits",)),
        ('{"include_labels": "walk"}', ("include_labels",)),
        ('{"include_labels": [1]}', ("include_labels.0", "string")),
        ('{"extras": ["heat"]}', ("extras.0", "'windows', 'embedding', ", "'descriptions' or 'explanation'")),
        ('{"format": "xml"}', ("format", "'json', 'ndjson', 'vtt' or 'srt'")),
        ('{"format": "vtt", "extras": ["timing"]}', ("extras timing need format json or ndjson, got vtt",)),
        ('{"top_k": 1, "top_k": 2}', ("'top_k' stands twice",)),
        ('{"smoothing_windows": 3, "lookahead_windows": 3}', ("lookahead_windows 3 must be below",)),
        ("[1]", ("expected a JSON object, got a JSON list",)),
        ("7", ("expected a JSON object, got a number",)),
        ("{", ("line 1",)),
        (b"\xff\xfe", ("not UTF-8",)),
        ("[" * 10_000, ("nested too deeply",)),
        ({"threshold": float("nan")}, ("not a plain JSON object",)),
        ({"top_k": 1, "threshold": 2}, ("threshold",)),
    ],
)
def test_refusals_say_what_is_wrong(raw: str | bytes | Mapping[str, Any], words: tuple[str, ...]) -> None:
    message = refusal(raw)
    assert message.startswith("options: ")
    for word in words:
        assert word in message


@pytest.mark.parametrize("raw", [" " * 16_385, "ä" * 8_193, b"x" * 16_385, {"include_labels": ["w" * 16_384]}])
def test_options_have_a_size(raw: str | bytes | Mapping[str, Any]) -> None:
    with pytest.raises(LimitExceeded, match=r"options: \d+ bytes, at most 16384 are allowed") as caught:
        parse_options(raw, LIMITS)
    assert caught.value.code == "limit_options"


def test_a_message_stays_short() -> None:
    assert len(refusal({f"unknown_{index}": 0 for index in range(500)})) == 1_000


@pytest.mark.parametrize(
    ("hop_seconds", "hops", "stride_seconds", "stride_windows"),
    [(0.5, 4, 0.5, 1), (0.5, 4, 2.0, 4), (0.1, 10, 0.3, 3), (0.1, 10, 0.7, 7), (1 / 3, 6, 1.0, 3)],
)
def test_strides_are_multiples(hop_seconds: float, hops: int, stride_seconds: float, stride_windows: int) -> None:
    config = CONFIG.model_copy(update={"windows": WindowConfig(stride_seconds=hop_seconds, hops=hops)})
    assert resolve_options(RequestOptions(stride_seconds=stride_seconds), config).stride_windows == stride_windows


@pytest.mark.parametrize("stride_seconds", [0.25, 0.75, 0.500001, 1e-12, 2.5, 1e300])
def test_other_strides_say_which_there_are(stride_seconds: float) -> None:
    message = refusal({"stride_seconds": stride_seconds})
    assert message.endswith("must be a whole multiple of 0.5, at most 2")


@pytest.mark.parametrize(("smoothing", "lookahead"), [(1, 0), (2, 0), (3, 2), (4, 2), (11, 2)])
def test_the_models_lookahead_gives_way_to_a_shorter_smoothing(smoothing: int, lookahead: int) -> None:
    options = resolved(smoothing_windows=smoothing)
    assert (options.smoothing_windows, options.lookahead_windows) == (smoothing, lookahead)


def test_a_lookahead_must_fit_the_models_smoothing() -> None:
    assert resolved(lookahead_windows=4).lookahead_windows == 4
    assert refusal({"lookahead_windows": 5}) == (
        "options: lookahead_windows 5 must be below the model's smoothing_windows 5"
    )


@pytest.mark.parametrize(
    ("include", "exclude", "allowed"),
    [
        (None, ["run"], (True, False, True)),
        (["run"], None, (False, True, False)),
        (["run", "run"], [], (False, True, False)),
        (["walk", "run"], ["run", "sit"], (True, False, False)),
    ],
)
def test_labels(include: list[str] | None, exclude: list[str] | None, allowed: tuple[bool, ...]) -> None:
    assert resolved(include_labels=include, exclude_labels=exclude).allowed == allowed


@pytest.mark.parametrize("name", ["include_labels", "exclude_labels"])
def test_an_unknown_label_names_the_known_ones(name: str) -> None:
    assert refusal({name: ["run", "jump"]}) == "options: unknown label 'jump' (known labels: walk, run, sit)"


def test_many_labels_are_cut_after_twenty() -> None:
    config = CONFIG.model_copy(update={"labels": tuple(f"l{index}" for index in range(50))})
    with pytest.raises(InvalidOptions, match=r"l18, l19 and 30 more\)$"):
        resolve_options(RequestOptions(include_labels=("x",)), config)


@pytest.mark.parametrize("raw", [{"include_labels": []}, {"include_labels": ["run"], "exclude_labels": ["run"]}])
def test_no_label_left_is_refused(raw: Mapping[str, Any]) -> None:
    assert "leave no label (known labels: walk, run, sit)" in refusal(raw)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(sorted(RequestOptions.model_fields)) | st.text(max_size=5), json_values))
def test_any_object_resolves_or_is_refused(raw: dict[str, Any]) -> None:
    try:
        options = resolve_options(parse_options(raw, LIMITS), CONFIG)
    except InvalidOptions as error:
        json.dumps(error.body)
        return
    assert 0 <= options.lookahead_windows < options.smoothing_windows
    assert 1 <= options.stride_windows <= 4
    assert any(options.allowed)


@pytest.mark.parametrize(
    "sent", [{"labels": ["a"]}, {"templates": ["a {}"]}, {"weights": {"video": 1.0}}, {"labels": ["a"], "weights": {}}]
)
def test_a_model_that_was_trained_takes_no_other_labels(sent: dict[str, Any]) -> None:
    with pytest.raises(
        InvalidOptions, match=f"{', '.join(sent)} cannot be chosen, as this model's 3 labels are fixed"
    ) as error:
        resolve_options(parse_options(sent, LIMITS), CONFIG)
    assert "include_labels" in error.value.remedy
