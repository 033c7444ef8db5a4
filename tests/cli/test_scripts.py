"""The scripts where they do not need a network: what they say when something is missing, and that they parse."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
SCRIPTS = sorted((PROJECT / "scripts").glob("*.sh"))
TOOLS = ("awk", "bash", "cat", "dirname", "flock")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with a space in its path and nothing but what setup.sh reads."""
    folder = tmp_path / "my checkout"
    (folder / "scripts").mkdir(parents=True)
    for name in ("scripts/setup.sh", "requirements.lock", "pyproject.toml"):
        shutil.copy(PROJECT / name, folder / name)
    return folder


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A PATH of its own, with the few tools that setup.sh needs and no Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        if found is not None:
            (folder / tool).symlink_to(found)
    return folder


def put_python(path: Path, name: str, script: str) -> None:
    """A stand-in for a Python: a shell script that gets the same arguments."""
    program = path / name
    program.write_text(f"#!/usr/bin/env bash\n{script}\n")
    program.chmod(0o755)


def setup(checkout: Path, path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    bash = shutil.which("bash")
    assert bash is not None
    return subprocess.run(
        [bash, checkout / "scripts" / "setup.sh"],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": str(path), **environment},
        cwd="/",
    )


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_every_script_is_strict_executable_and_parses(script: Path) -> None:
    assert "\nset -euo pipefail\n" in script.read_text(encoding="utf-8")
    assert script.stat().st_mode & 0o111
    subprocess.run(["bash", "-n", script], check=True)


def test_the_integration_runs_what_people_run() -> None:
    run = PROJECT / ".ci" / "run"
    assert run.stat().st_mode & 0o111
    assert "/../scripts/test.sh" in run.read_text(encoding="utf-8")


def test_without_a_python_it_says_what_to_install(checkout: Path, path: Path) -> None:
    put_python(path, "python3", "exit 1")
    done = setup(checkout, path)
    assert done.returncode == 1
    assert "No Python 3.11, 3.12 or 3.13 was found." in done.stderr
    assert "set PYTHON" in done.stderr
    assert not (checkout / ".venv").exists()


def test_a_python_without_venv_says_which_package_to_install(checkout: Path, path: Path) -> None:
    put_python(path, "python3.12", 'case "$2" in *ensurepip*) exit 1 ;; esac')
    done = setup(checkout, path)
    assert done.returncode == 1
    assert "python3.12 cannot make virtual environments" in done.stderr
    assert "python3-venv" in done.stderr


def test_a_wrong_python_that_was_asked_for_is_not_replaced(checkout: Path, path: Path) -> None:
    put_python(path, "python3.12", "exit 0")
    put_python(path, "old", "exit 1")
    done = setup(checkout, path, PYTHON="old")
    assert done.returncode == 1
    assert "PYTHON=old is no Python 3.11, 3.12 or 3.13." in done.stderr


def test_a_python_that_can_is_preferred_to_one_without_venv(checkout: Path, path: Path) -> None:
    put_python(path, "python3", 'case "$2" in *ensurepip*) exit 1 ;; esac')
    # What it is asked to do, it says; making the environment then fails, which ends the script.
    put_python(path, "python3.11", 'case "$*" in *"-m venv"*) echo "asked: $*" >&2; exit 1 ;; esac')
    done = setup(checkout, path)
    assert done.returncode == 1
    assert f"asked: -m venv --clear {checkout}/.venv" in done.stderr
    assert "8 GB of space" in done.stderr


def test_a_finished_environment_is_left_as_it_is(checkout: Path, path: Path) -> None:
    (checkout / ".venv" / "bin").mkdir(parents=True)
    put_python(checkout / ".venv" / "bin", "python", "cat > /dev/null; echo the-same")
    stamp = checkout / ".venv" / "activity-setup"
    stamp.write_text("the-same\n")
    done = setup(checkout, path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    stamp.write_text("another\n")
    assert "No Python" in setup(checkout, path).stderr


def test_the_lock_names_hashes_and_no_index() -> None:
    lock = (PROJECT / "requirements.lock").read_text(encoding="utf-8")
    hashed = r"^[a-z0-9][^\n]*==[^\n]*\\\n(?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+"
    requirements = re.findall(hashed, lock, re.MULTILINE)
    assert len(requirements) == len(re.findall(r"^[a-z0-9]", lock, re.MULTILINE)) > 100
    assert "://" not in lock
    assert {word.partition("=")[0] for word in lock.split() if word.startswith("--")} == {"--hash"}


def test_the_lock_fits_the_project() -> None:
    lock = (PROJECT / "requirements.lock").read_text(encoding="utf-8")
    for name in ("torch==2.11.0", "torchvision==0.26.0", "torchaudio==2.11.0", "torchserve==0.12.0"):
        assert f"{name} \\\n" in lock
    assert re.search(r"^uv==[0-9.]+ \\$", lock, re.MULTILINE)
