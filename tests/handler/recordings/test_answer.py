"""The lines of a streamed answer are together the ordinary one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import pytest

from handler.errors import ActivityError, UndecodableMedia
from handler.limits import Limits
from handler.measures import Outcome
from handler.pipeline import ActivityPipeline
from handler.recordings.pieces import ClipPiece, ModalityFailed, Pieces, decode_pieces
from handler.response import Response
from models.config import HeadConfig, Modality
from tests.handler.recordings.test_recording import CUES, movie
from tests.handler.requests import decode_with, tiny_pipeline
from tests.models.tiny import TINY

BROKEN = UndecodableMedia("broken in its midst", remedy="Send it anew.")


@lru_cache(maxsize=2)
def shared(*, multi_label: bool = False) -> ActivityPipeline:
    head = HeadConfig(hidden=16, task="multi_label" if multi_label else "single_label")
    return tiny_pipeline(TINY.model_copy(update={"head": head}))


def begin(pipeline: ActivityPipeline | None = None, **options: Any) -> tuple[Response, Outcome]:
    raw = {"video": movie(), "text": CUES, "options": json.dumps({"stream": True, **options})}
    ((response, outcome),) = (pipeline or shared()).respond_measured([raw], ["1"], streamable=[0])
    return response, outcome


def read(response: Response) -> tuple[list[bytes], str]:
    """All pieces of an answer, and the code it ends with."""
    pieces = [response.body]
    assert response.rest is not None
    while True:
        try:
            pieces.append(next(response.rest))
        except StopIteration as ended:
            return pieces, ended.value


def lines_of(pieces: Sequence[bytes]) -> list[dict[str, Any]]:
    assert all(piece.endswith(b"\n") for piece in pieces)
    return [json.loads(line) for piece in pieces for line in piece.splitlines()]


def joined(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """The ordinary answer's values."""
    (header,), (end,) = [[line for line in lines if line["type"] == kind] for kind in ("header", "end")]
    assert (lines[0], lines[-1]) == (header, end)
    segments = [line for line in lines if line["type"] == "segment"]
    windows = [line for line in lines if line["type"] == "window"]
    values = {**header, **end, "segments": sorted(segments, key=lambda it: (it["start_seconds"], it["stop_seconds"]))}
    values |= {"windows": windows} if windows else {}
    for each in (values, *segments, *windows):
        del each["type"]
    return values


def flat(item: dict[str, Any]) -> dict[str, Any]:
    """Without dictionaries within it."""
    inner = {f"{name} {key}": each for name, it in item.items() if isinstance(it, dict) for key, each in it.items()}
    return inner | {name: value for name, value in item.items() if not isinstance(value, dict)}


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {"extras": ["windows", "embedding"]},
        {"extras": ["windows"], "stride_seconds": 1.5, "min_segment_seconds": 0.0, "threshold": 0.34},
        {"format": "ndjson", "smoothing_windows": 1, "min_segment_seconds": 4.0, "top_k": 2},
        {"smoothing_windows": 101, "lookahead_windows": 100, "extras": ["windows"]},
    ],
)
def test_the_lines_together_hold_what_the_ordinary_answer_holds(*, options: dict[str, Any], multi_label: bool) -> None:
    pipeline = shared(multi_label=multi_label)
    response, _ = begin(pipeline, **options)
    assert (response.status, response.content_type) == (200, "application/x-ndjson")
    pieces, code = read(response)
    assert code == "ok"
    raw = {"video": movie(), "text": CUES, "options": json.dumps({**options, "format": "json"})}
    (ordinary,) = pipeline.respond([raw], ["1"])
    expected = json.loads(ordinary.body)
    found = joined(lines_of(pieces))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if name in ("segments", "activities", "windows"):
            assert len(found[name]) == len(value)
            assert [flat(item) for item in found[name]] == [pytest.approx(flat(item), abs=2e-6) for item in value]
        else:
            assert found[name] == value


def test_each_piece_shows_how_far_the_recording_is_read() -> None:
    pieces, _ = read(begin(extras=["timing"])[0])
    assert len(pieces) <= 6  # header, three pieces, the windows that were left, the end
    clocks = [line["clock_seconds"] for line in lines_of(pieces) if line["type"] == "progress"]
    assert clocks == [32.0, 64.0, 75.0]
    end = lines_of(pieces)[-1]
    assert list(end) == ["type", "duration_seconds", "activities", "timing"]
    assert min(end["timing"].values()) > 0


def test_no_piece_is_decoded_before_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []
    closed: list[bool] = []

    class Watched(Pieces):
        def close(self) -> None:
            closed.append(True)

    def watched(*args: Any, **kwargs: Any) -> Pieces:
        pieces = decode_pieces(*args, **kwargs)

        def each() -> Iterator[ClipPiece]:
            for piece in pieces.pieces:
                decoded.append(piece.first_hop)
                yield piece

        return Watched(pieces.schedule, pieces.modalities, pieces.transcript, each())

    decode_with(monkeypatch, watched)
    response, _ = begin()
    assert (decoded, closed) == ([0], [])
    assert response.rest is not None
    next(response.rest)
    next(response.rest)
    assert (decoded, closed) == ([0, 64], [])
    response.rest.close()  # nobody reads on
    assert (decoded, closed) == ([0, 64], [True])
    read(begin()[0])
    assert (decoded, closed) == ([0, 64, 0, 64, 128], [True, True])


def failing(fails_at: int) -> Any:
    """A video that fails at a piece."""

    def opened(*args: Any, failed: dict[Modality, ActivityError], **kwargs: Any) -> Pieces:
        pieces = decode_pieces(*args, failed=failed, **kwargs)

        def each() -> Iterator[ClipPiece]:
            for number, piece in enumerate(pieces.pieces):
                if number == fails_at and "video" not in failed:
                    raise ModalityFailed("video", BROKEN)
                yield piece

        return Pieces(pieces.schedule, pieces.modalities, pieces.transcript, each())

    return opened


def test_what_goes_wrong_midway_is_said_in_the_last_line(monkeypatch: pytest.MonkeyPatch) -> None:
    decode_with(monkeypatch, failing(2))
    response, _ = begin()
    pieces, code = read(response)
    assert response.status == 200  # which is said already
    assert code == "undecodable_media"
    lines = lines_of(pieces)
    assert lines[-1] == {"type": "error", **BROKEN.body}
    assert [line["type"] for line in lines if line["type"] != "segment"] == ["header", "progress", "progress", "error"]


def test_a_modality_that_fails_in_the_first_piece_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    decode_with(monkeypatch, failing(0))
    assert read(begin()[0])[1] == "ok"


def test_a_defect_midway_is_an_internal_error(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = tiny_pipeline()
    response, _ = begin(pipeline)
    monkeypatch.setattr(pipeline.scorer, "fuse", lambda *_: 1 / 0)
    pieces, code = read(response)
    assert code == "internal_error"
    assert lines_of(pieces)[-1]["message"].startswith("the request 1 met a defect")


def test_what_is_wrong_from_the_start_has_its_own_status() -> None:
    raw = {"video": b"broken", "options": '{"stream": true}'}
    ((response, outcome),) = shared().respond_measured([raw], ["1"], streamable=[0])
    assert (response.status, response.rest, outcome.code) == (422, None, "undecodable_media")
    raw = {"video": movie(), "options": '{"stream": true, "include_labels": ["unheard of"]}'}
    ((response, outcome),) = shared().respond_measured([raw], ["1"], streamable=[0])
    assert (response.status, response.rest, outcome.code) == (400, None, "invalid_options")


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"stream": 1}, "stream"),
        ({"stream": True, "format": "vtt"}, "stream sends lines of JSON, not vtt"),
        ({"stream": True, "extras": ["windows", "explanation"]}, "extras explanation need the whole recording"),
        ({"stream": True, "extras": ["descriptions"]}, "extras descriptions need the whole recording"),
    ],
)
def test_options_that_do_not_go_with_lines_are_refused(options: dict[str, Any], fault: str) -> None:
    raw = {"text": "stir", "options": json.dumps(options)}
    ((response, _),) = shared().respond_measured([raw], ["1"], streamable=[0])
    body = json.loads(response.body)
    assert (response.status, body["code"], response.rest) == (400, "invalid_options", None)
    assert fault in body["message"]


def test_only_a_plain_request_that_came_by_rest_is_streamed() -> None:
    options = {"stream": True}
    plain = {"text": "stir", "options": json.dumps(options)}
    v1 = {"body": {"instances": [{"text": "stir", "options": options}]}}
    batch: list[dict[str, Any]] = [plain, v1, plain, plain]
    measured = shared().respond_measured(batch, list("abcd"), streamable=[1, 2, 3], explained=[3])
    by_grpc, in_v1, by_rest, explained = [response for response, _ in measured]
    assert [each.status for each in (by_grpc, in_v1, by_rest, explained)] == [400, 400, 200, 400]
    for refused in (by_grpc, in_v1):
        assert "stream is for REST, and for requests that are no KServe body" in refused.body.decode()
    assert "extras explanation need the whole recording" in explained.body.decode()
    pieces, code = read(by_rest)
    assert (code, lines_of(pieces)[-1]["type"]) == ("ok", "end")


def test_a_streamed_recording_may_be_longer_than_others() -> None:
    pipeline = tiny_pipeline()
    pipeline.limits = Limits(max_duration_seconds=60.0, max_streamed_seconds=80.0)
    raw = {"video": movie(), "options": '{"stream": true}'}
    (whole,) = pipeline.respond([{"video": movie()}], ["1"])
    assert json.loads(whole.body)["code"] == "limit_seconds"
    ((response, _),) = pipeline.respond_measured([raw], ["1"], streamable=[0])
    assert read(response)[1] == "ok"
    pipeline.limits = Limits(max_duration_seconds=60.0, max_streamed_seconds=70.0)
    ((response, _),) = pipeline.respond_measured([raw], ["1"], streamable=[0])
    assert json.loads(response.body)["code"] == "limit_seconds"


def test_what_a_streamed_answer_cost_is_counted_while_it_is_read() -> None:
    response, outcome = begin()
    seconds = dict(outcome.measures.seconds)
    assert outcome.measures.bytes_by_part["video"] == len(movie())
    assert outcome.measures.clip_seconds == pytest.approx(75.0)
    assert outcome.measures.windows == 0
    read(response)
    assert outcome.measures.windows == 147
    assert outcome.measures.seconds["decode"] > seconds["decode"]
    assert outcome.measures.seconds["encode"] > 0
    assert outcome.measures.seconds["receive"] == seconds["receive"]
