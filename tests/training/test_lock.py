"""One writer a folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from models.settings import SettingsError
from training.lock import sole_writer

HOLD = """
import sys
from pathlib import Path
from training.lock import sole_writer
with sole_writer(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_folder_has_one_writer_at_a_time_and_is_free_when_that_one_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "run"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(SettingsError, match=r"another training writes to .*run: wait for it"), sole_writer(folder):
            pytest.fail("two writers")
        holder.kill()
        holder.wait()
        with sole_writer(folder):
            pass
    assert list(folder.iterdir()) == []


def test_a_folder_that_nothing_came_of_is_gone(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no such"), sole_writer(tmp_path / "new"):
        raise SettingsError("no such manifest")
    assert list(tmp_path.iterdir()) == []


def test_another_folder_is_free(tmp_path: Path) -> None:
    with sole_writer(tmp_path / "one"), sole_writer(tmp_path / "two"):
        assert (tmp_path / "two").is_dir()
