from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from cli.errors import CommandError, user_errors


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.ENOTDIR, errno.EISDIR])
def test_a_place_that_cannot_be_written_to_is_said_without_a_traceback(fault: int) -> None:
    with pytest.raises(CommandError, match=f"^runs/mine: {os.strerror(fault)}\n.*(room|place|folder)"), user_errors():
        raise OSError(fault, os.strerror(fault), "runs/mine")


def test_of_a_copy_the_place_that_it_goes_to_is_named() -> None:
    with pytest.raises(CommandError, match=r"^to: No space left"), user_errors():
        raise OSError(errno.ENOSPC, "No space left on device", "from", None, "to")


def test_a_file_in_a_folders_place_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CommandError, match="a file stands where a folder is needed"), user_errors():
        (tmp_path / "file" / "folder").mkdir()


def test_a_defect_stays_one() -> None:
    with pytest.raises(OSError, match="Bad file descriptor"), user_errors():
        os.close(-1)
