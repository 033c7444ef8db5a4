"""The key that the workers of a server sign states of streams with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cli.errors import CommandError
from handler.stream.token import KEY_FILE_NAME, KEY_FILE_VARIABLE, KEY_VARIABLE, load_stream_key
from models.settings import SettingsError


def stream_key_variables(environment: Mapping[str, str], run_dir: Path) -> dict[str, str]:
    """What tells the workers the key that states of streams are signed with.

    It is the user's own, else that of ``RUN_DIR/stream_key``, which is made at the first start and stays: a state
    outlives the server that gave it.

    Raises:
        CommandError: the key is none, or cannot be read or made.
    """
    named = environment.get(KEY_FILE_VARIABLE)
    path = Path(named).expanduser().absolute() if named else run_dir / KEY_FILE_NAME  # the server's folder is another
    variables = {KEY_FILE_VARIABLE: str(path)}
    try:
        load_stream_key(run_dir, {**environment, **(variables if named else {})})
    except SettingsError as exc:
        raise CommandError(
            str(exc), remedy=f"Name another key with {KEY_VARIABLE} or {KEY_FILE_VARIABLE}, or remove a broken one."
        ) from exc
    return {} if environment.get(KEY_VARIABLE) else variables
