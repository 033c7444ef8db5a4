from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from cli.timeline import Axis, TimedLabel, choose_colours, pair_segments, render_answer, render_comparison

WALK, RUN = TimedLabel(0.0, 4.0, "walk"), TimedLabel(4.0, 10.0, "run")

ANSWER: dict[str, Any] = {
    "model": {"name": "activity", "version": "1.0"},
    "start_seconds": 0.0,
    "duration_seconds": 10.0,
    "modalities": {
        "video": {"used": True},
        "audio": {"used": False, "code": "undecodable_media", "reason": "no [sample] came out"},
        "text": {"used": False, "code": "not_sent"},
    },
    "activities": [{"label": "run", "score": 0.7}, {"label": "walk", "score": 0.25}],
    "segments": [
        {"start_seconds": 0.0, "stop_seconds": 4.0, "label": "walk", "score": 0.81},
        {"start_seconds": 4.0, "stop_seconds": 10.0, "label": "run", "score": 0.9},
    ],
}


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=100, color_system=None, highlight=False)


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_bar_has_each_label_where_it_holds() -> None:
    bar = Axis(0.0, 12.0).bar([WALK, RUN], choose_colours(["walk", "run"]))
    assert bar.plain == "█" * 50 + "·" * 10
    assert [(span.start, str(span.style)) for span in bar.spans if span.start in {0, 19, 20, 50}] == [
        (0, "magenta"),
        (19, "magenta"),
        (20, "cyan"),
        (50, "dim"),
    ]


def test_an_axis_that_does_not_start_at_zero() -> None:
    axis = Axis(2.0, 8.0)
    assert axis.bar([TimedLabel(6.0, 10.0, "run")], {"run": "red"}).plain == "·" * 30 + "█" * 30
    assert axis.scale().plain == "2.0 s" + " " * 49 + "10.0 s"


def test_an_answer_shows_times_scores_and_why_a_modality_was_not_used(console: Console) -> None:
    render_answer(ANSWER, console)
    lines = printed(console).splitlines()
    assert lines[0] == "activity 1.0: 2 segments in 10.00 s"
    assert any("0.00 s" in line and "4.00 s" in line and "walk" in line and "0.810" in line for line in lines)
    assert "over the whole clip: run 0.700, walk 0.250" in lines
    assert lines[-3:] == ["✓ video", "- audio: no [sample] came out", "- text: not_sent"]


def test_what_was_heard_and_seen_is_shown_where_it_was_asked_for(console: Console) -> None:
    described = [{**segment, "description": "a [man] walks"} for segment in ANSWER["segments"][:1]]
    cues = [{"start_seconds": 0.0, "stop_seconds": 1.0, "text": text} for text in ("hello", "[there]")]
    render_answer({**ANSWER, "segments": [*described, *ANSWER["segments"][1:]], "transcript": cues}, console)
    lines = printed(console).splitlines()
    assert any("walk" in line and "a [man] walks" in line for line in lines)
    assert lines[-1] == "heard: hello [there]"


def test_an_answer_without_segments(console: Console) -> None:
    render_answer({**ANSWER, "segments": []}, console)
    assert "no segment is above the threshold" in printed(console)


def test_each_true_segment_is_paired_with_what_holds_longest_in_it() -> None:
    early, late = TimedLabel(0.0, 1.0, "run", 0.5), TimedLabel(1.0, 4.5, "walk", 0.8)
    assert pair_segments([WALK, RUN], [early, late]) == [(WALK, late), (RUN, late)]
    assert pair_segments([RUN], [early]) == [(RUN, None)]
    assert pair_segments([RUN], []) == [(RUN, None)]


def test_a_comparison_marks_right_wrong_and_missing(console: Console) -> None:
    sit = TimedLabel(10.0, 12.0, "sit")
    predicted = [TimedLabel(0.0, 4.1, "walk", 0.9), TimedLabel(4.1, 10.0, "jump", 0.8)]
    render_comparison([WALK, RUN, sit], predicted, Axis(0.0, 12.0), console)
    rows = [line for line in printed(console).splitlines() if line.strip().startswith(("✓", "✗"))]
    assert [row.strip()[0] for row in rows] == ["✓", "✗", "✗"]
    assert "4.10 s" in rows[0]
    assert "jump" in rows[1]
    assert "nothing" in rows[2]


def test_a_comparison_of_the_demos_labels_fits_80_columns() -> None:
    narrow = Console(file=io.StringIO(), width=80, color_system=None, highlight=False)
    label = "bounce_rise_greet"
    true, predicted = TimedLabel(10.0, 14.83, label), TimedLabel(10.17, 14.73, label, 0.858)
    render_comparison([true], [predicted], Axis(0.0, 20.0), narrow)
    row = next(line for line in printed(narrow).splitlines() if "✓" in line)
    assert row.split() == ["✓", label, "10.00", "s", "14.83", "s", label, "10.17", "s", "14.73", "s", "0.858"]


def test_a_long_label_is_folded_not_cut() -> None:
    narrow = Console(file=io.StringIO(), width=80, color_system=None, highlight=False)
    label = "opening_a_bottle_of_water_with_the_left_hand"
    render_comparison([TimedLabel(0.0, 4.0, label)], [], Axis(0.0, 4.0), narrow)
    assert "…" not in printed(narrow)


def test_colours_do_not_depend_on_the_order() -> None:
    assert choose_colours(["b", "a", "b"]) == choose_colours(["a", "b"]) == {"a": "cyan", "b": "magenta"}
