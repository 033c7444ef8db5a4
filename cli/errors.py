"""What a command tells its user when it cannot go on."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PLACE_ERRORS = {
    errno.ENOSPC: "Make room there, or name a folder on another disk.",
    errno.EDQUOT: "Make room there, or name a folder on another disk.",
    errno.EACCES: "Name a place that you may read and write.",
    errno.EPERM: "Name a place that you may read and write.",
    errno.EROFS: "Name a folder that can be written to.",
    errno.ENOTDIR: "Check the path: a file stands where a folder is needed.",
    errno.EEXIST: "Check the path: something else stands there.",
    errno.EISDIR: "Check the path: a folder stands where a file is needed.",
    errno.ELOOP: "Check the path: a link there leads back to itself.",
    errno.ENAMETOOLONG: "Name a shorter path.",
}
"""What is wrong with a place that a user has named, and what to do; any other fault of the system is a traceback."""


class CommandError(Exception):
    """A command that failed for a reason the user can act on; ends with exit code 1.

    Args:
        message: what happened.
        remedy: what to do next.
    """

    def __init__(self, message: str, *, remedy: str) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}\n{self.remedy}"


class PortTaken(CommandError):
    """A port that was asked for is in use."""


class StartFailed(CommandError):
    """TorchServe did not come up; the message ends with the last useful lines of its log."""


class NotRunning(CommandError):
    """No server of this run folder is running."""


def require_files(*paths: Path) -> None:
    """A wrong path is said at once, not after the seconds that loading torch takes."""
    for path in paths:
        if not path.is_file():
            raise CommandError(f"there is no file {path}", remedy="Check the path.")


@contextmanager
def user_errors() -> Iterator[None]:
    """What is wrong with a recipe, a manifest, a checkpoint, a clip or an index is said without a traceback."""
    from handler.errors import ActivityError  # noqa: PLC0415 - help must not wait for these
    from models.settings import SettingsError  # noqa: PLC0415
    from retrieval.errors import IndexUnusable  # noqa: PLC0415
    from training.manifest import ManifestError  # noqa: PLC0415

    try:
        yield
    except (ActivityError, IndexUnusable) as error:
        raise CommandError(error.message, remedy=error.remedy) from error
    except (SettingsError, ManifestError) as error:
        raise CommandError(str(error), remedy="Mend what it names and run the command again.") from error
    except FileNotFoundError as error:
        raise CommandError(f"there is no file {error.filename}", remedy="Check the path.") from error
    except OSError as error:
        if error.errno not in PLACE_ERRORS:
            raise
        place = error.filename2 or error.filename
        at = "" if place is None else f"{place}: "
        raise CommandError(f"{at}{error.strerror}", remedy=PLACE_ERRORS[error.errno]) from error
