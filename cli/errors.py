"""What a command tells its user when it cannot go on."""

from __future__ import annotations


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
