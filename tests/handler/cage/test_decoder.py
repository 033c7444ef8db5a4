"""What children give is what this process would, and what becomes of those that die, lie, overstay or want too much."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from handler.cage import cage as cage_module
from handler.cage import decoder as decoder_module
from handler.cage.cage import Child
from handler.cage.decoder import CagedDecoder, build_decoder
from handler.cage.wire import Channel
from handler.clip import Clip, Cue, Waveform, Words
from handler.decode import decode_request
from handler.decoder import Decoder, LocalDecoder
from handler.errors import ActivityError, DecoderCrashed, LimitExceeded, UndecodableMedia
from handler.limits import HandlerSettings, Limits
from handler.measures import Measures, measuring
from handler.options import RequestOptions
from handler.pipeline import ActivityPipeline
from handler.recordings.pieces import Pieces
from handler.request import ActivityRequest
from handler.runtime import choose_runtime
from tests.handler.recordings.test_pieces import check_same, request_of
from tests.handler.requests import make_request, tiny_checkpoint
from tests.handler.stream.test_chunk import OPTIONS, pieces
from tests.handler.streaming import send
from tests.media import X264, Picture, Sound, render
from tests.models.every import EVERY
from tests.models.pretrained.pictures import model_config
from tests.models.tiny import TINY
from tests.pretrained_factory import tiny_clip

LIMITS = Limits()
MOVIE = render("mp4", Picture(num_frames=30, width=32, height=32, options=X264), Sound(seconds=1.2))
REQUEST = make_request(MOVIE)


@pytest.fixture(scope="module")
def every() -> Iterator[CagedDecoder]:
    decoder = CagedDecoder(EVERY, LIMITS, 1, requests_per_child=100)
    yield decoder
    decoder.close()


@pytest.fixture(scope="module")
def tiny() -> Iterator[CagedDecoder]:
    decoder = CagedDecoder(TINY, LIMITS, 1, requests_per_child=3)
    yield decoder
    decoder.close()


def whole(opened: Pieces) -> Clip:
    with opened:
        (piece,) = opened.pieces
    return piece.clip


def children_of(decoder: CagedDecoder) -> dict[int, psutil.Process]:
    """Those that run: one of an earlier test may have ended, and not be gone."""
    children = psutil.Process(decoder.cage.pid).children()
    return {child.pid: child for child in children if child.status() != psutil.STATUS_ZOMBIE}


# The same as without


@pytest.mark.parametrize(
    "names", [("video", "text", "image", "tabular", "depth", "imu"), ("video",), ("text",), ("imu", "image")]
)
def test_a_clip_is_the_one_that_this_process_decodes(names: tuple[str, ...], every: CagedDecoder) -> None:
    request = request_of(names)
    expected = decode_request(request, EVERY, LIMITS)
    found = whole(every.pieces(request, LIMITS))
    assert found.schedule == expected.schedule
    check_same(found, expected, 0, expected.schedule.num_hops)


def test_a_recording_comes_in_the_same_pieces(every: CagedDecoder) -> None:
    request = request_of()
    with LocalDecoder(EVERY).pieces(request, LIMITS, hops_per_piece=2) as opened:
        expected = list(opened.pieces)
    with every.pieces(request, LIMITS, hops_per_piece=2) as opened:
        found = list(opened.pieces)
    assert (
        [piece.first_hop for piece in found]
        == [piece.first_hop for piece in expected]
        == list(range(0, expected[-1].first_hop + 1, 2))
    )
    assert len(found) > 2
    for mine, its in zip(expected, found, strict=True):
        check_same(its.clip, mine.clip, 0, mine.clip.schedule.num_hops)


@pytest.mark.parametrize(
    "request_", [make_request(b"no media"), make_request(), make_request(MOVIE[:-300]), make_request(text=b"\xff")]
)
def test_an_error_is_the_same(request_: Any, tiny: CagedDecoder) -> None:
    with pytest.raises(ActivityError) as expected:
        LocalDecoder(TINY).pieces(request_, LIMITS)
    with pytest.raises(type(expected.value)) as found:
        tiny.pieces(request_, LIMITS)
    assert found.value.values == expected.value.values


def test_a_stream_gives_the_same_answers(tiny: CagedDecoder) -> None:
    checkpoint, runtime = tiny_checkpoint(), choose_runtime(threads=1)
    answers: list[list[Any]] = []
    for decoder in (None, tiny):
        pipeline = ActivityPipeline(checkpoint, runtime=runtime, stream_key=bytes(32), decoder=decoder)
        state, told = None, []
        for piece in pieces():
            answer = send(pipeline, {"video": piece}, {}, OPTIONS, state)
            state = answer.pop("state")
            told.append(answer)
        answers.append(told)
    assert answers[0] == answers[1]
    assert len(answers[0]) == 4


def test_pictures_are_the_same(tiny: CagedDecoder) -> None:
    seconds = (0.1, 0.9, 0.5)
    decoders: Sequence[Decoder] = (LocalDecoder(TINY), tiny)
    expected, found = ([np.array(it) for it in each.pictures(REQUEST, seconds, LIMITS)] for each in decoders)
    assert [it.shape for it in expected] == [(3, 32, 32)] * 3
    assert all(map(np.array_equal, expected, found))
    assert not np.array_equal(found[0], found[1])
    assert list(tiny.pictures(make_request(b"no media"), seconds, LIMITS)) == [None] * 3


def test_a_pretrained_geometry_is_the_workers(tmp_path: Path) -> None:
    config = model_config(tiny_clip(tmp_path / "clip"), "video", "image", frames_per_hop=2)
    request = replace(REQUEST, image=request_of().image)
    decoder = CagedDecoder(config, LIMITS, 1)
    try:
        found = whole(decoder.pieces(request, LIMITS))
        assert "torch" not in decoder.cage.modules
    finally:
        decoder.close()
    expected = decode_request(request, config, LIMITS)
    assert found.frames is not None
    assert found.frames.std() > 1
    check_same(found, expected, 0, expected.schedule.num_hops)


def test_words_are_heard_by_the_worker(tiny: CagedDecoder) -> None:
    heard: list[Waveform] = []

    def hear(waveform: Waveform) -> Words:
        heard.append(waveform)
        return Words(cues=(Cue(0.1, 0.4, "stir"),), heard_in=waveform.span)

    clip = whole(tiny.pieces(REQUEST, LIMITS, transcribe=hear))
    assert clip.transcript == (Cue(0.1, 0.4, "stir"),)
    (waveform,) = heard
    assert (waveform.sample_rate, str(waveform.samples.dtype)) == (16_000, "float32")
    assert waveform.duration_seconds == pytest.approx(1.2, abs=0.1)

    def hears_nothing(_waveform: Waveform) -> Words:
        raise UndecodableMedia("no words", remedy="Speak.")

    deaf = whole(tiny.pieces(REQUEST, LIMITS, transcribe=hears_nothing))
    assert deaf.modalities["text"].code == "undecodable_media"


# What a child is


def test_neither_server_nor_child_has_torch_or_the_workers_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACTIVITY_STREAM_KEY", "00" * 32)
    decoder = CagedDecoder(EVERY, LIMITS, 1, requests_per_child=2)
    try:
        assert not decoder.cage.modules & {"torch", "transformers", "ts", "torchaudio", "torchvision"}
        assert {"av", "numpy", "handler", "pyarrow"} <= decoder.cage.modules
        whole(decoder.pieces(request_of(), LIMITS))
        for pid in (decoder.cage.pid, *children_of(decoder)):
            assert b"STREAM_KEY" not in Path(f"/proc/{pid}/environ").read_bytes()
            assert "libtorch" not in Path(f"/proc/{pid}/maps").read_text()
    finally:
        decoder.close()


def test_a_child_is_confined(tiny: CagedDecoder) -> None:
    whole(tiny.pieces(REQUEST, LIMITS))
    children = children_of(tiny)
    assert children
    for pid, child in children.items():
        limits = Path(f"/proc/{pid}/limits").read_text()
        found = {line[:25].strip(): line[25:].split()[:2] for line in limits.splitlines()[1:]}
        assert found["Max open files"] == ["0", "0"]
        assert found["Max core file size"] == ["0", "0"]
        assert found["Max file size"] == [str(LIMITS.max_decode_bytes)] * 2
        assert LIMITS.max_decode_bytes < int(found["Max address space"][1]) < 2 * LIMITS.max_decode_bytes
        kinds = [str(it.readlink()).split(":")[0] for it in Path(f"/proc/{pid}/fd").iterdir()]
        assert sorted(kinds) == ["/dev/null"] * 3 + ["/memfd", "/memfd", "socket"]
        assert child.num_threads() == 1
        assert "NoNewPrivs:\t1" in Path(f"/proc/{pid}/status").read_text()


def test_a_child_decodes_some_requests_and_none_after_one_that_is_wrong(tiny: CagedDecoder) -> None:
    used: list[int] = []
    begin = Child.__enter__

    def noted(child: Child) -> Child:
        used.append(child.pid)
        return begin(child)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Child, "__enter__", noted)
        for child in tiny.cage._idle:
            child.close()
        tiny.cage._idle.clear()
        for _ in range(4):
            whole(tiny.pieces(REQUEST, LIMITS))
        with pytest.raises(UndecodableMedia):
            tiny.pieces(make_request(b"no media"), LIMITS)
        whole(tiny.pieces(REQUEST, LIMITS))
    first, second, third = used[0], used[3], used[5]
    assert used == [first, first, first, second, second, third]
    assert len({first, second, third}) == 3


# What becomes of a child


def act_on_children(monkeypatch: pytest.MonkeyPatch, number: int, times: int) -> list[int]:
    """Send a signal to each of the next children that the worker waits for; their number."""
    sent: list[int] = []
    wait = Child._wait

    def signalled(child: Child, budget: Any) -> Any:
        if len(sent) < times and child.pid not in sent:
            os.kill(child.pid, number)
            sent.append(child.pid)
        return wait(child, budget)

    monkeypatch.setattr(Child, "_wait", signalled)
    return sent


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_request_outlives_one_child(number: int, tiny: CagedDecoder, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = act_on_children(monkeypatch, number, times=1)
    measures = Measures()
    with measuring(measures):
        clip = whole(tiny.pieces(REQUEST, LIMITS))
    assert clip.frames is not None
    assert len(sent) == 1
    assert measures.children == {"crashed": 1, "ok": 1}
    assert tiny.cage._idle[-1].num_requests == 1  # the second one had decoded nothing before


def test_a_request_of_which_two_children_die_is_an_error(tiny: CagedDecoder, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = act_on_children(monkeypatch, signal.SIGSEGV, times=2)
    measures = Measures()
    with measuring(measures), pytest.raises(DecoderCrashed) as caught:
        tiny.pieces(REQUEST, LIMITS)
    assert (caught.value.status, len(set(sent))) == (422, 2)
    assert measures.children == {"crashed": 2}
    assert whole(tiny.pieces(REQUEST, LIMITS)).frames is not None


def test_a_child_that_overstays_is_killed(tiny: CagedDecoder, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = act_on_children(monkeypatch, signal.SIGSTOP, times=1)
    limits, measures = Limits(max_decode_seconds=0.3), Measures()
    started = time.monotonic()
    with measuring(measures), pytest.raises(LimitExceeded) as caught:
        tiny.pieces(REQUEST, limits)
    assert 0.3 <= time.monotonic() - started < 3
    assert (caught.value.code, caught.value.status) == ("limit_decode_seconds", 413)
    assert re.search(r"longer than (0\.3|1\.5) s", caught.value.message)  # it may have said before how long it lasts
    assert measures.children == {"timeout": 1}
    assert len(sent) == 1
    assert whole(tiny.pieces(REQUEST, LIMITS)).frames is not None


def test_a_clip_s_own_seconds_are_added_to_its_time(tiny: CagedDecoder, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[float] = []
    add = cage_module.Budget.add

    def noted(budget: cage_module.Budget, seconds: float) -> None:
        given.append(seconds)
        add(budget, seconds)

    monkeypatch.setattr(cage_module.Budget, "add", noted)
    whole(tiny.pieces(REQUEST, LIMITS))
    assert given == [pytest.approx(1.2, abs=0.1)]


def test_a_child_without_memory_says_so() -> None:
    limits = Limits(max_decode_bytes=8 * 1024 * 1024)
    large = make_request(render("wav", Sound(codec="pcm_s16le", seconds=60.0)))
    decoder = CagedDecoder(TINY, limits, 1)
    try:
        measures = Measures()
        with measuring(measures), pytest.raises(LimitExceeded) as caught:
            decoder.pieces(large, limits, hops_per_piece=1000)
        assert caught.value.code == "limit_memory"
        assert measures.children == {"memory": 1}
    finally:
        decoder.close()
    with LocalDecoder(TINY).pieces(large, limits, hops_per_piece=1000) as opened:
        assert next(opened.pieces).clip.samples is not None


def test_a_fork_server_that_dies_is_started_anew(tiny: CagedDecoder) -> None:
    before = tiny.cage.pid
    old = list(children_of(tiny).values())
    os.kill(before, signal.SIGKILL)
    assert whole(tiny.pieces(REQUEST, LIMITS)).frames is not None
    assert tiny.cage.pid != before
    _, alive = psutil.wait_procs(old, timeout=5)
    assert not [child for child in alive if child.status() != psutil.STATUS_ZOMBIE]


WORKER = """
import os, signal, sys
from handler.cage.decoder import CagedDecoder, build_decoder
from handler.limits import HandlerSettings, Limits
from tests.models.tiny import TINY
decoder = CagedDecoder(TINY, Limits(), 2)
decoder.cage.modules
with decoder.cage.child() as child:
    print(decoder.cage.pid, flush=True)
    sys.stdin.readline()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_no_process_outlives_the_worker() -> None:
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
    )
    assert worker.stdout is not None
    server = psutil.Process(int(worker.stdout.readline()))
    processes = [server, *server.children()]
    assert len(processes) >= 3
    worker.communicate("\n", timeout=20)
    assert worker.returncode == -signal.SIGKILL
    _, alive = psutil.wait_procs(processes, timeout=5)
    assert not [it for it in alive if it.status() != psutil.STATUS_ZOMBIE]


def test_nothing_is_left_open(tiny: CagedDecoder) -> None:
    whole(tiny.pieces(REQUEST, LIMITS))
    me = psutil.Process()
    before = me.num_fds()
    for _ in range(5):
        whole(tiny.pieces(REQUEST, LIMITS))
        with pytest.raises(UndecodableMedia):
            tiny.pieces(make_request(b"no media"), LIMITS)
    with tiny.pieces(REQUEST, LIMITS, hops_per_piece=1) as opened:
        next(opened.pieces)  # and no more
    assert abs(me.num_fds() - before) <= 4  # of the child that waits
    assert len(children_of(tiny)) <= 3


# A child that is no longer itself


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("opened", {}),
        ("opened", {"schedule": 3, "modalities": [], "transcript": None}),
        ("opened", {"schedule": {"span": {"start_seconds": 2, "stop_seconds": 1}}, "modalities": {}, "transcript": 0}),
        ("error", {"code": "internal", "message": "m", "remedy": "r", "details": {}}),
        ("error", {}),
        ("failed", {"modality": "video"}),
        ("nonsense", {}),
    ],
)
def test_an_answer_that_is_none_is_that_of_a_crash(
    kind: str, values: dict[str, Any], tiny: CagedDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    receive = Channel.receive
    lies = [(kind, values)] * 2

    def lying(channel: Channel, timeout_seconds: float | None = None) -> tuple[str, dict[str, Any]]:
        told = receive(channel, timeout_seconds)
        return lies.pop() if lies and told[0] != "ready" else told

    monkeypatch.setattr(Channel, "receive", lying)
    with pytest.raises(DecoderCrashed):
        tiny.pieces(REQUEST, LIMITS)


def test_a_defect_in_a_child_is_logged_and_no_clients_fault(
    tiny: CagedDecoder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    talk: Any = decoder_module._Talk
    monkeypatch.setattr(talk, "_lasts", lambda *_: {"seconds": 1 / 0})
    pipeline = ActivityPipeline(tiny_checkpoint(), runtime=choose_runtime(threads=1), decoder=tiny)
    (response,) = pipeline.respond([{"video": MOVIE}], ["request"])
    assert response.status == 500
    assert b"ZeroDivision" not in response.body
    assert "ZeroDivisionError" in caplog.text


def test_without_memory_that_has_no_name_there_is_no_cage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create")
    with pytest.raises(ValueError, match="set cage to false"):
        CagedDecoder(TINY, LIMITS, 1)


def test_a_model_config_can_do_without(tmp_path: Path) -> None:
    assert HandlerSettings().cage
    assert build_decoder(tmp_path, HandlerSettings(cage=False), 1) is None


def _nested(depth: int) -> Any:
    value: Any = 1.0
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("table", "is_used"),
    [
        ({"seconds": [0.0, 1.0], "values": [[1, 2, 3], [4, 5, 10**20]]}, True),
        ([[1.0, float("nan"), 3.0]], False),
        ({"seconds": [float("-inf")], "values": [[1, 2, 3]]}, False),
        (_nested(5), False),
        (_nested(600), False),
        (_nested(950), False),
        ([[1, 2, 3]] * 1_000_000, False),
    ],
)
def test_a_table_that_the_server_has_parsed_crosses_or_is_refused_for_what_it_is(
    every: CagedDecoder, table: Any, is_used: bool
) -> None:
    request = ActivityRequest(video=None, audio=None, text=None, options=RequestOptions(), vectors={"imu": table})
    if is_used:
        assert whole(every.pieces(request, LIMITS)).vectors.keys() == {"imu"}
        return
    with pytest.raises(UndecodableMedia):
        whole(every.pieces(request, LIMITS))
