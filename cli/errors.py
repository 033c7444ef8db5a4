"""What a command tells its user when it cannot go on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
    """What is wrong with a recipe, a manifest, a checkpoint or a clip is said without a traceback."""
    from handler.errors import ActivityError  # noqa: PLC0415 - help must not wait for these
    from models.settings import SettingsError  # noqa: PLC0415
    from training.manifest import ManifestError  # noqa: PLC0415

    try:
        yield
    except ActivityError as error:
        raise CommandError(error.message, remedy=error.remedy) from error
    except (SettingsError, ManifestError) as error:
        raise CommandError(str(error), remedy="Mend what it names and run the command again.") from error
    except FileNotFoundError as error:
        raise CommandError(f"there is no file {error.filename}", remedy="Check the path.") from error
