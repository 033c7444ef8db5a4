"""Where pretrained weights come from: a folder, the hub's cache on this machine, or the hub itself."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from models.pretrained.config import COMMIT
from models.settings import SettingsError

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
CONFIG_FILE = "config.json"
WEIGHTS_FILE, INDEX_FILE = "model.safetensors", "model.safetensors.index.json"
NEEDED_FILES = (WEIGHTS_FILE, "model-*-of-*.safetensors", "*.json", "*.txt", "*.model", "*.jinja")
"""What is fetched: never a pickle, never code; nor the same weights again in other precisions, as some have them."""
BELOW_FOLDERS = ("*/*",)
REACH_SECONDS = 5.0
"""How long the hub may take to answer at all; a download has the hub library's own patience."""


def find_source(source: str, revision: str | None) -> Path:
    """The folder that holds a pretrained model; a hub name is fetched where the cache does not have it.

    Args:
        source: a folder, or a name on the model hub such as ``openai/clip-vit-base-patch32``.
        revision: the commit of a hub name, 40 hexadecimal digits.

    Raises:
        SettingsError: there is neither such a folder nor such a name, the revision is missing or no commit, the hub
            cannot be reached, or what is there has no safetensors.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        return check_folder(folder)
    if not HUB_NAME.fullmatch(source):
        raise SettingsError(f"{source} is no folder. Give a folder with {CONFIG_FILE} and safetensors, or a hub name.")
    if revision is None or not re.fullmatch(COMMIT, revision):
        raise SettingsError(
            f"{source} is no folder here, and as a name on the hub it needs a revision: the commit, "
            "40 hexadecimal digits, which the hub shows under 'Files and versions'. "
            f"If a folder was meant, `activity fetch NAME --revision COMMIT --output {shlex.quote(source)}` makes it."
        )
    cached = _cached(source, revision)
    return check_folder(_download(source, revision) if cached is None else cached)


def check_folder(folder: Path) -> Path:
    """Check that a folder holds a model that can be loaded without unpickling anything, all its parts included.

    Raises:
        SettingsError: it has no configuration, no safetensors, or not all of those that its index names.
    """
    if not (folder / CONFIG_FILE).is_file():
        raise SettingsError(f"{folder} holds no pretrained model: it has no {CONFIG_FILE}.")
    missing = [name for name in weight_files(folder) if not (folder / name).is_file()]
    if missing:
        raise SettingsError(f"{folder} is not whole: {INDEX_FILE} names {missing[0]}, which is missing.")
    return folder


def weight_files(folder: Path) -> tuple[str, ...]:
    """The names of a model's safetensors files: one, or those that its index names.

    Raises:
        SettingsError: it has neither, or its index is none.
    """
    if (folder / WEIGHTS_FILE).is_file():
        return (WEIGHTS_FILE,)
    try:
        index = json.loads((folder / INDEX_FILE).read_text(encoding="utf-8"))
        names = {str(name) for name in index["weight_map"].values()}
    except FileNotFoundError as exc:
        raise SettingsError(
            f"{folder} has no {WEIGHTS_FILE}. Only safetensors are loaded, since a pickle runs code; save the model "
            "again with save_pretrained, or take a revision that has them."
        ) from exc
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise SettingsError(f"{folder / INDEX_FILE} is no index of weights: {exc!r}") from exc
    if not names or not all(re.fullmatch(r"[\w.-]+\.safetensors", name) for name in names):
        raise SettingsError(f"{folder / INDEX_FILE} must name safetensors files beside it.")
    return tuple(sorted(names))


def _cached(name: str, revision: str) -> Path | None:
    """The cache's folder of a revision, where it is whole."""
    from huggingface_hub import snapshot_download  # noqa: PLC0415 - not needed for a folder
    from huggingface_hub.errors import LocalEntryNotFoundError  # noqa: PLC0415

    try:
        return check_folder(Path(snapshot_download(name, revision=revision, local_files_only=True)))
    except (LocalEntryNotFoundError, SettingsError):
        return None


def _download(name: str, revision: str) -> Path:
    from huggingface_hub import snapshot_download  # noqa: PLC0415
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError  # noqa: PLC0415
    from huggingface_hub.utils import httpx  # noqa: PLC0415

    try:
        _reach_hub()
        with _bars_on_a_terminal():
            return Path(
                snapshot_download(
                    name,
                    revision=revision,
                    allow_patterns=list(NEEDED_FILES),
                    ignore_patterns=list(BELOW_FOLDERS),
                )
            )
    except RepositoryNotFoundError as exc:
        raise SettingsError(f"The hub knows no {name}, or does not show it to you: check the name.") from exc
    except RevisionNotFoundError as exc:
        raise SettingsError(f"{name} has no revision {revision}: copy the commit from its 'History'.") from exc
    except (HfHubHTTPError, httpx.HTTPError, OSError) as exc:
        raise SettingsError(
            f"The model hub cannot be reached for {name} at {revision}, and this machine's cache does not have all of "
            f"it ({_reason(exc)}). Fetch it where there is a network with `activity fetch {name} --revision {revision} "
            "--output FOLDER`, copy the folder here and name it as the source; or copy the cache and set HF_HOME to it."
        ) from exc


def _reach_hub() -> None:
    """Ask the hub once: its library would try for a long time, and say so at each attempt."""
    from huggingface_hub import constants  # noqa: PLC0415
    from huggingface_hub.utils import get_session  # noqa: PLC0415

    get_session().head(constants.ENDPOINT, timeout=REACH_SECONDS)


def _reason(error: Exception) -> str:
    from huggingface_hub.errors import OfflineModeIsEnabled  # noqa: PLC0415

    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set"
    return f"{type(error).__name__}: {error}".splitlines()[0]


@contextmanager
def _bars_on_a_terminal() -> Iterator[None]:
    """The hub library's progress bars, where somebody sees them move."""
    from huggingface_hub.utils import (  # noqa: PLC0415
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    if sys.stderr.isatty() or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()
