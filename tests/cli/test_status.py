"""What ``activity status`` does while a server answers, does not answer, and is gone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from cli import status as module
from cli.errors import NotRunning
from cli.record import ServerRecord
from cli.snapshot import Snapshot
from client.errors import ClientError, ServerUnreachable
from tests.cli.test_record import build_record
from tests.cli.test_status_view import SNAPSHOT


class Observer:
    """Answers in turn."""

    def __init__(self, *answers: Snapshot | BaseException) -> None:
        self.answers = list(answers)

    def look(self) -> Snapshot:
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer


GONE = ServerUnreachable("nobody there", remedy="wait")


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ServerRecord:
    monkeypatch.setattr(module, "require_running", lambda _: None)
    return build_record(tmp_path)


def watch(record: ServerRecord, *answers: Snapshot | BaseException, ticks: int | None = None) -> list[str | None]:
    told: list[str | None] = []
    observer = Observer(*answers)
    module._go_on(record, observer, lambda _, trouble: told.append(trouble), 0.0, ticks)  # type: ignore[arg-type]
    return told


def test_it_goes_on_until_ctrl_c_and_shows_the_last_answer_while_there_is_none(record: ServerRecord) -> None:
    assert watch(record, SNAPSHOT, GONE, SNAPSHOT, KeyboardInterrupt()) == [None, "nobody there", None]


def test_it_ends_after_so_many_looks(record: ServerRecord) -> None:
    assert watch(record, SNAPSHOT, SNAPSHOT, ticks=2) == [None, None]


def test_no_answer_at_the_first_look_is_an_error(record: ServerRecord) -> None:
    with pytest.raises(ClientError, match="nobody there"):
        watch(record, GONE)


def test_a_server_that_has_ended_ends_it(record: ServerRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(run_dir: Path) -> None:
        assert run_dir == Path(record.run_dir)
        raise NotRunning("ended", remedy="start")

    monkeypatch.setattr(module, "require_running", refuse)
    with pytest.raises(NotRunning):
        watch(record, SNAPSHOT, GONE)


@pytest.mark.parametrize("as_json", [False, True])
def test_what_is_no_terminal_gets_lines(capsys: pytest.CaptureFixture[str], *, as_json: bool) -> None:
    with module._shown(Console(), as_json=as_json) as show:
        show(SNAPSHOT, None)
        show(SNAPSHOT, "nobody there")
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert "nobody there" in captured.err
    if as_json:
        assert [json.loads(line) for line in lines] == [json.loads(json.dumps(SNAPSHOT.to_json()))]
    else:
        assert [line.split(":")[2] for line in lines] == ["15 activity 1.0", "15 [red]two 2.0"]


def test_a_terminal_gets_one_view_that_changes(capsys: pytest.CaptureFixture[str]) -> None:
    with module._shown(Console(force_terminal=True, width=80), as_json=False) as show:
        show(SNAPSHOT, None)
        show(SNAPSHOT, "nobody there")
    out = capsys.readouterr().out
    assert out.index("Ctrl-C ends.") < out.index("nobody there")
    assert "\x1b[" in out
