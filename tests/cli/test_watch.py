from __future__ import annotations

import io
import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from cli.app import app
from cli.watch_views import LineView, LiveView, scores_now
from cli.watching import ChunkQueue, Pace, Seen, Watcher, latency_words, stop_by_ctrl_c
from client.cutting import Chunk
from client.errors import ServerUnreachable, SourceUnusable, WorkerFailed
from client.sources import open_source, read_address
from client.stream import ActivityStream
from tests.cli.stream_asker import StreamAsker
from tests.client.fake_stream import FakeStreamModel, error
from tests.media import X264, Picture, Sound, render

SHORT_GROUPS = (*X264, ("g", "5"))


@pytest.fixture
def asker(monkeypatch: pytest.MonkeyPatch) -> StreamAsker:
    asker = StreamAsker()
    asker.install(monkeypatch)
    return asker


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    path.write_bytes(render("mp4", Picture(num_frames=75, options=SHORT_GROUPS), Sound(seconds=3.0)))
    return path


def watch(*arguments: object) -> Result:
    return CliRunner(env={"COLUMNS": "120"}).invoke(app, ["watch", *map(str, arguments)])


class Recorder:
    """Keeps what it is shown."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.said: list[str] = []

    def show(self, seen: Seen) -> None:
        self.seen.append(seen)

    def say(self, message: str) -> None:
        self.said.append(message)


def watch_source(address: str, model: FakeStreamModel, *, chunk_seconds: float = 0.4, **options: Any) -> Recorder:
    view = Recorder()
    stream = ActivityStream(model, {"extras": ["windows"]}, sleep=lambda _: None)
    with open_source(read_address(address, format=options.pop("format", None))) as source:
        Watcher(source, stream, view, chunk_seconds, **options).run()
    return view


def test_fast_a_line_a_chunk_and_then_the_whole(asker: StreamAsker, clip: Path) -> None:
    result = watch(clip, "--fast", "--chunk-seconds", 1)
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].startswith("    1.00 s: walk 0.90, run 0.10; final until 0.00 s; latency 0.0")
    assert lines[2].startswith("    3.00 s: walk 0.90")
    assert "activity 1.0: " in lines[3]
    assert len(asker.model.asked) == 3


def test_json_a_line_a_chunk_without_the_state(asker: StreamAsker, clip: Path) -> None:
    result = watch(clip, "--fast", "--json", "--chunk-seconds", 1, "--options", '{"top_k": 1}')
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(line["chunk"], line["chunk_stop_seconds"]) for line in lines] == [(1, 1.0), (2, 2.0), (3, 3.0)]
    assert lines[0]["stream"]["clock_seconds"] == 1.0
    assert all("state" not in line and line["dropped_chunks"] == 0 for line in lines)
    assert asker.model.asked[0]["options"]["top_k"] == 1


def test_words_go_with_the_chunks_that_they_begin_in(asker: StreamAsker, clip: Path, tmp_path: Path) -> None:
    words = tmp_path / "words.vtt"
    words.write_text("WEBVTT\n\n00:00.500 --> 00:02.500\nfirst\n\n00:02.000 --> 00:03.000\nlast\n")
    assert watch(clip, "--fast", "--chunk-seconds", 1, "--text", words).exit_code == 0
    texts = [asked.get("text", b"").split(b"\n")[3:4] for asked in asker.model.asked]
    assert texts == [[b"first"], [], [b"last"]]


@pytest.mark.parametrize(("shown", "begins"), [("json", b"{"), ("ndjson", b'{"type":"header"'), ("vtt", b"WEBVTT\n")])
def test_the_whole_is_written(asker: StreamAsker, clip: Path, tmp_path: Path, shown: str, begins: bytes) -> None:
    output = tmp_path / "made" / "labels"
    assert watch(clip, "--fast", "--chunk-seconds", 1, "-o", output, "--format", shown).exit_code == 0
    body = output.read_bytes()
    assert body.startswith(begins)
    assert b"walk" in body
    assert b"windows" not in body
    assert len(asker.model.asked) == 3


def test_a_file_goes_at_its_own_pace_and_fast_as_quickly_as_it_goes(tmp_path: Path) -> None:
    clip = tmp_path / "short.mp4"
    clip.write_bytes(render("mp4", Picture(num_frames=38, options=SHORT_GROUPS)))
    began = time.monotonic()
    view = watch_source(str(clip), FakeStreamModel(), chunk_seconds=1.0)
    assert 1.4 < time.monotonic() - began < 4
    assert [seen.answer.clock_seconds for seen in view.seen] == [1.0, 2.0]  # of the last one the model knows no end
    assert all(seen.lag_seconds < 0.9 for seen in view.seen)
    began = time.monotonic()
    watch_source(str(clip), FakeStreamModel(), is_fast=True)
    assert time.monotonic() - began < 1.5


class SlowModel(FakeStreamModel):
    """Needs a while for each chunk."""

    seconds: float = 0.4

    def predict(self, video: bytes | None = None, *, options: Any = None, **others: Any) -> Any:
        time.sleep(self.seconds)
        return super().predict(video, options=options, **others)


def test_a_server_that_does_not_keep_up_costs_the_oldest_waiting_chunks(clip: Path) -> None:
    view = watch_source(str(clip), SlowModel(), chunk_seconds=0.2)
    assert sum(seen.dropped for seen in view.seen) > 2
    assert view.seen[-1].num_dropped == sum(seen.dropped for seen in view.seen)
    assert view.seen[-1].chunk.last
    assert max(seen.answer.gap_seconds for seen in view.seen) > 0.15
    assert len(view.seen) + view.seen[-1].num_dropped == view.seen[-1].number
    assert max(seen.lag_seconds for seen in view.seen) > 0.5


def test_fast_never_drops(clip: Path) -> None:
    model = SlowModel()
    model.seconds = 0.02
    view = watch_source(str(clip), model, chunk_seconds=0.2, is_fast=True)
    assert view.seen[-1].num_dropped == 0
    assert view.seen[-1].number == len(view.seen) == 15


def test_a_chunk_that_fails_by_itself_is_skipped_and_said(clip: Path) -> None:
    model = FakeStreamModel(failures=[error(422, "undecodable_media")])
    view = watch_source(str(clip), model, is_fast=True)
    assert "Skipped 0.00 s to 0.40 s" in view.said[0]
    assert view.seen[0].chunk.start_seconds == 0.4
    model = FakeStreamModel(failures=[WorkerFailed("died", remedy="again")] * 2)
    assert "Skipped" in watch_source(str(clip), model, is_fast=True).said[0]
    model = FakeStreamModel(failures=[error(400, "invalid_options")])
    with pytest.raises(Exception, match="invalid_options"):
        watch_source(str(clip), model, is_fast=True)


def test_a_roll_out_is_said(asker: StreamAsker, clip: Path) -> None:
    def roll_out(number: int) -> None:
        if number == 1:
            asker.model.version = "2.0"

    asker.before = roll_out
    result = watch(clip, "--fast", "--chunk-seconds", 1)
    assert "begun anew at 1.00 s (state_foreign)" in result.stdout


@contextmanager
def live_server(data: bytes, seconds: float) -> Iterator[str]:
    """Gives bytes in pieces over so many seconds, as a camera would."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/octet-stream")
            self.end_headers()
            count = 40
            for place in range(count):
                self.wfile.write(data[len(data) * place // count : len(data) * (place + 1) // count])
                self.wfile.flush()
                time.sleep(seconds / count)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/live"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize("container", ["mpegts", "webm"])
def test_an_address_is_watched_while_it_comes(container: str) -> None:
    picture = (
        Picture(num_frames=60, options=SHORT_GROUPS)
        if container == "mpegts"
        else Picture(codec="libvpx", num_frames=60, options=(("g", "5"), ("deadline", "realtime")))
    )
    model = FakeStreamModel()
    with live_server(render(container, picture), 1.2) as address:
        began = time.monotonic()
        view = watch_source(address, model, chunk_seconds=0.6)
        took = time.monotonic() - began
    assert 1.0 < took < 6
    assert len(view.seen) >= 3
    assert view.seen[0].chunk.start_seconds == 0.0
    assert view.seen[-1].chunk.last
    assert view.seen[-1].num_dropped == 0


def test_a_device_of_raw_frames_is_watched() -> None:
    view = watch_source("testsrc=size=64x48:rate=25:duration=2", FakeStreamModel(), format="lavfi", chunk_seconds=1.0)
    assert [seen.chunk.stop_seconds for seen in view.seen] == [1.0, 2.0]


def test_ctrl_c_ends_the_stream_with_what_has_been_read() -> None:
    view, model = Recorder(), FakeStreamModel()
    stream = ActivityStream(model)
    timer = threading.Timer(0.9, lambda: signal.raise_signal(signal.SIGINT))
    with open_source(read_address("testsrc=size=64x48:rate=25", format="lavfi")) as source:
        watcher = Watcher(source, stream, view, 0.3)
        with stop_by_ctrl_c(watcher.stop, view.say):
            timer.start()
            watcher.run()
    assert view.said == ["Ending the stream; Ctrl-C again leaves at once."]
    assert len(view.seen) >= 2
    assert view.seen[-1].chunk.last
    assert view.seen[-1].chunk.stop_seconds < 5


@pytest.mark.parametrize(
    "arguments",
    [
        ["clip.mp4", "--input-option", "size"],
        ["clip.mp4", "--text", "auto"],
        ["clip.mp4", "--options", '{"extras": ["explanation"]}'],
        ["clip.mp4", "--options", '{"format": "vtt"}'],
        ["clip.mp4", "-o", "x", "--format", "table"],
        ["clip.mp4", "--chunk-seconds", "0"],
    ],
)
def test_a_wrong_command_ends_with_2(asker: StreamAsker, arguments: list[str]) -> None:
    assert watch(*arguments).exit_code == 2
    assert asker.model.asked == []


def test_a_camera_that_is_not_there_and_nobody_to_ask_are_said(asker: StreamAsker, clip: Path, tmp_path: Path) -> None:
    result = watch("/dev/video9")
    assert isinstance(result.exception, SourceUnusable)
    assert "ls /dev/video*" in str(result.exception)
    asker.model.failures = [ServerUnreachable("nobody listens", remedy="Start one.")] * 9
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("client.patience.UNREACHABLE_SECONDS", 0.0)
        result = watch(clip, "--fast", "-o", tmp_path / "x")
    assert isinstance(result.exception, ServerUnreachable)
    assert not (tmp_path / "x").exists()


@pytest.mark.usefixtures("asker")
def test_the_whole_is_shown_when_the_view_has_ended(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[str] = []

    @contextmanager
    def view(*_: object, **__: object) -> Iterator[Recorder]:
        yield Recorder()
        happened.append("view ended")

    monkeypatch.setattr("cli.watch.build_view", view)
    monkeypatch.setattr("cli.watch.finish", lambda *_, **__: happened.append("whole shown"))
    assert watch(clip, "--fast").exit_code == 0
    assert happened == ["view ended", "whole shown"]


def seen_of(model: FakeStreamModel, *, lag_seconds: float = 0.1, dropped: int = 0) -> Seen:
    stream = ActivityStream(model, {"extras": ["windows"]})
    chunk = Chunk(b"", 0.0, 4.0)
    answer = stream.send(chunk)
    return Seen(1, chunk, answer, stream.segments, lag_seconds, dropped, dropped)


def rendered(seen: Seen) -> str:
    console = Console(width=90, record=True, file=io.StringIO(), force_terminal=True)
    console.print(LiveView("clip[x].mp4", 1.0, console).render(seen))
    return console.export_text()


def test_the_live_view_marks_what_is_provisional_and_warns_of_lag() -> None:
    shown = rendered(seen_of(FakeStreamModel()))
    assert "clip[x].mp4  activity 1.0" in shown
    assert "███▒·" in shown
    assert "provisional" in shown
    assert "walk" in shown
    assert "0.900" in shown
    assert "known 4.0 s   final 3.0 s" in shown
    assert "lag 0.10 s   dropped 0" in shown
    view = LiveView("x", 1.0, Console(file=io.StringIO(), force_terminal=True))
    with view:
        view.show(seen_of(FakeStreamModel(), dropped=2))
    assert view._said == ["dropped 2 chunks before 0.00 s: the server does not keep up"]


def test_a_line_says_what_was_dropped() -> None:
    stream = io.StringIO()
    LineView(stream).show(seen_of(FakeStreamModel(), dropped=1))
    assert "; dropped 1 chunk before 0.00 s: the server does not keep up" in stream.getvalue()
    assert scores_now(seen_of(FakeStreamModel())) == [("walk", 0.9), ("run", 0.1)]


@pytest.mark.usefixtures("asker")
def test_what_the_answers_took_is_summed_up(clip: Path) -> None:
    said = latency_words([0.9, 0.2, 0.3, 0.1])
    assert (
        said == "4 chunks answered; latency 0.900 s for the first, median 0.200 s and at most 0.300 s for the others."
    )
    result = watch(clip, "--fast", "--json", "--chunk-seconds", 1)
    assert result.stderr.startswith("3 chunks answered; latency 0.0")


def test_the_queue_drops_the_oldest_or_lets_wait() -> None:
    queue = ChunkQueue(drops=True)
    for place in range(5):
        queue.put(Chunk(b"", float(place), place + 1.0, last=place == 4))
    queue.put(None)
    taken = [queue.take() for _ in range(3)]
    assert [(None if chunk is None else chunk.start_seconds, dropped) for chunk, dropped in taken] == [
        (3.0, 3),
        (4.0, 0),
        (None, 0),
    ]
    queue.put(ValueError("read"))
    with pytest.raises(ValueError, match="read"):
        queue.take()


def test_the_pace_knows_where_a_live_source_is() -> None:
    stopped = threading.Event()
    live = Pace(is_fast=False, is_file=False)
    began = time.monotonic()
    live.wait(Chunk(b"", 0.0, 2.0), stopped)
    assert time.monotonic() - began < 0.2  # it has just been filmed
    assert live.position_seconds() == pytest.approx(2.0, abs=0.2)
    stopped.set()
    live.wait(Chunk(b"", 2.0, 60.0), stopped)  # a stop ends the waiting
    assert time.monotonic() - began < 0.5
