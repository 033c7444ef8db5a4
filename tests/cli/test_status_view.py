from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console, RenderableType

from cli.scrape import parse_scrape
from cli.snapshot import Load, Memory, Snapshot, VersionUse, WorkerUse, measure_load
from cli.status_view import live_view, text_lines

WORKER = WorkerUse("9000", "READY", True, 11, 3725.0, Memory(800_000_000, 700_000_000))
LOADING = WorkerUse("9001", "UNLOADING", False, None, None, None)
PADDING = {"hop": 0.25, "window": 0.0625}
LOAD = Load(2.0, {"ok": 3.5, "invalid_options": 0.5}, 42.0, (0.1, 0.25), None, 0.5, PADDING, {"crashed": 2})
VERSION = VersionUse("activity", "1.0", True, 7, (WORKER, LOADING), LOAD)
SECOND = VersionUse("[red]two", "2.0", False, 0, (), None)
SNAPSHOT = Snapshot("2026-11-21T20:34:15.000+00:00", 5, 59.0, Memory(300_000_000, 250_000_000), (VERSION, SECOND))


def shown(view: RenderableType, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    console.print(view)
    assert isinstance(console.file, io.StringIO)
    return [" ".join(line.split()) for line in console.file.getvalue().splitlines()]


@pytest.mark.parametrize("width", [80, 200])
def test_all_of_a_server_is_shown(width: int) -> None:
    lines = shown(live_view(SNAPSHOT, None), width)
    assert "activity 1.0 * 7 9000 READY 11 1:02:05 800 MB 700 MB" in lines
    assert "9001 UNLOADING" in lines
    assert "[red]two 2.0 0 none" in lines
    assert "server 5 0:00:59 300 MB 250 MB" in lines
    assert "all 1100 MB 950 MB" in lines
    assert "requests/s, ok 3.50 -" in lines
    assert "requests/s, invalid_options 0.50 -" in lines
    assert "windows/s 42.0 -" in lines
    assert "seconds of a request, 50 % / 95 % 0.1 / 0.25 -" in lines
    assert "real-time factor, 50 % / 95 % - -" in lines
    assert "padding hops 25%, windows 6% -" in lines
    assert "decode processes lost crashed 2 -" in lines


def test_an_old_look_says_that_it_is_old() -> None:
    assert shown(live_view(SNAPSHOT, "no [answer]"), 80)[-1] == "no [answer]"


def test_a_line_has_the_same() -> None:
    first, second = text_lines(SNAPSHOT)
    assert first == (
        "20:34:15 activity 1.0: 1 of 2 workers ready, 7 waiting, 4.00 requests/s (invalid_options 0.50, ok 3.50), "
        "42.0 windows/s, seconds of a request 0.1 / 0.25, real-time factor -, decode processes lost: crashed 2, "
        "memory 1100 MB"
    )
    quiet = replace(SNAPSHOT, models=(replace(VERSION, load=replace(LOAD, children_lost={})),))
    assert "decode processes" not in text_lines(quiet)[0]
    assert second == "20:34:15 [red]two 2.0: 0 of 0 workers ready, 0 waiting, memory 1100 MB"


def test_json_names_the_quantiles() -> None:
    first, second = SNAPSHOT.to_json()["models"]
    assert first["load"]["request_seconds"] == {"p50": 0.1, "p95": 0.25}
    assert first["load"]["real_time_factor"] is None
    assert second["load"] is None


def test_memory_that_nobody_can_part_is_not_parted() -> None:
    worker = replace(WORKER, memory=Memory(1_000_000, None))
    snapshot = replace(SNAPSHOT, models=(replace(VERSION, workers=(worker,)),))
    assert snapshot.whole_memory == Memory(301_000_000, None)
    assert "all 301 MB" in shown(live_view(snapshot, None), 80)


def test_the_load_is_what_was_added() -> None:
    model = 'model_name="m",model_version="1"'
    text = """
activity_requests_total{{{m},code="ok"}} {ok}
activity_requests_total{{{m},code="unknown_part"}} 3
activity_requests_total{{model_name="m",model_version="2",code="ok"}} {ok}
activity_windows_total{{{m}}} {windows}
activity_decode_children_total{{{m},reason="ok"}} {ok}
activity_decode_children_total{{{m},reason="crashed"}} {batches}
activity_decode_children_total{{{m},reason="memory"}} 3
activity_computed_total{{{m},item="hop"}} {hops}
activity_padding_total{{{m},item="hop"}} {padding}
activity_batch_fill_ratio_count{{{m}}} {batches}
activity_batch_fill_ratio_sum{{{m}}} {fill}
activity_request_seconds_bucket{{{m},le="1.0"}} {ok}
activity_request_seconds_bucket{{{m},le="+Inf"}} {ok}
"""
    names = ("ok", "windows", "hops", "padding", "batches", "fill")
    before, after = (
        parse_scrape(text.format(m=model, **dict(zip(names, values, strict=True))), at_seconds)
        for at_seconds, values in ((1.0, (4, 10, 80, 8, 5, 2.5)), (3.0, (10, 70, 160, 28, 9, 3.5)))
    )
    found = measure_load(before, after, "m", "1")
    assert found.request_seconds == pytest.approx((0.5, 0.95))
    assert replace(found, request_seconds=None) == Load(
        seconds=2.0,
        requests_per_second={"ok": 3.0},
        windows_per_second=30.0,
        request_seconds=None,
        real_time_factor=None,
        batch_fill=0.25,
        padding={"hop": 0.25},
        children_lost={"crashed": 4.0},
    )
    quiet = measure_load(after, after, "m", "1")
    assert (quiet.requests_per_second, quiet.batch_fill, quiet.padding) == ({}, None, {})
