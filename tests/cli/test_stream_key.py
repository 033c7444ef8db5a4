from __future__ import annotations

from pathlib import Path

import pytest

from cli.errors import CommandError
from cli.server import _prepare_run_dir
from cli.stream_key import stream_key_variables


def test_the_key_of_streams_is_made_once_and_stays_over_restarts(tmp_path: Path) -> None:
    path = tmp_path / "stream_key"
    assert stream_key_variables({"PATH": "/bin"}, tmp_path) == {"ACTIVITY_STREAM_KEY_FILE": str(path)}
    key = path.read_text()
    assert len(bytes.fromhex(key)) == 32
    assert path.stat().st_mode & 0o777 == 0o600
    assert stream_key_variables({"ACTIVITY_STREAM_KEY": ""}, tmp_path) == {"ACTIVITY_STREAM_KEY_FILE": str(path)}
    _prepare_run_dir(tmp_path)
    assert path.read_text() == key


def test_the_users_key_of_streams_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").write_text("ab" * 32)
    run_dir = tmp_path / "run"
    assert stream_key_variables({"ACTIVITY_STREAM_KEY": "ab" * 32}, run_dir) == {}
    variables = stream_key_variables({"ACTIVITY_STREAM_KEY_FILE": "mine"}, run_dir)
    assert variables == {"ACTIVITY_STREAM_KEY_FILE": str(tmp_path / "mine")}
    assert not run_dir.exists()


@pytest.mark.parametrize(
    "environment", [{"ACTIVITY_STREAM_KEY": "short"}, {"ACTIVITY_STREAM_KEY_FILE": "/there/is/none"}]
)
def test_a_broken_key_of_streams_is_said_before_anything_starts(tmp_path: Path, environment: dict[str, str]) -> None:
    with pytest.raises(CommandError, match="key of streams") as caught:
        stream_key_variables(environment, tmp_path)
    assert "ACTIVITY_STREAM_KEY_FILE" in caught.value.remedy
