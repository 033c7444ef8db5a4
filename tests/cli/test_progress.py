from __future__ import annotations

import io

import pytest
from rich.console import Console

from cli.progress import bar, bars, step


def plain() -> Console:
    return Console(file=io.StringIO(), force_terminal=False, width=100, highlight=False)


def printed(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_a_step_is_plain_lines_where_there_is_no_terminal() -> None:
    console = plain()
    with step("Loading [2] workers", console) as loading:
        loading.update("0 of 2")
        loading.update("0 of 2")
        loading.update("1 of 2")
        loading.result("both there")
    lines = printed(console)
    assert lines[:3] == ["Loading [2] workers ...", "Loading [2] workers: 0 of 2", "Loading [2] workers: 1 of 2"]
    assert lines[3].startswith("✓ Loading [2] workers: both there (")
    assert len(lines) == 4


def test_a_step_that_fails_says_so() -> None:
    console = plain()
    with pytest.raises(ValueError, match="no"), step("Trying", console):
        raise ValueError("no")
    assert printed(console)[-1].startswith("✗ Trying (")


def test_a_terminal_gets_a_spinner_that_leaves_one_line() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None)
    with step("Loading", console) as loading:
        loading.update("half")
    assert "✓ Loading" in printed(console)[-1]


def test_a_bar_reaches_its_end() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None)
    with bar("Rendering", 3, console) as progress:
        for _ in range(3):
            progress.advance(progress.task_ids[0])
        progress.refresh()
    assert any("3/3" in line for line in printed(console))


def test_bars_come_one_after_the_other_and_end_with_their_steps() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with bars(console) as report:
        for name, total in (("decode", 2), ("score", 3)):
            for done in range(1, total + 1):
                report(name, done, total)
    lines = "\n".join(printed(console))
    assert "2/2" in lines
    assert "3/3" in lines
    assert lines.index("2/2") < lines.index("score")
