"""Where pretrained weights come from: a folder, the hub's cache on this machine, or the hub itself."""

from __future__ import annotations

import re
from pathlib import Path

from models.settings import SettingsError

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
COMMIT_DIGITS = 40
CONFIG_FILE = "config.json"
WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
NEEDED_FILES = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.txt", "*.model")
"""What is fetched: never a pickle, never code."""


def find_source(source: str, revision: str | None) -> Path:
    """The folder that holds a pretrained model; a hub name is fetched where the cache does not have it.

    Args:
        source: a folder, or a name on the model hub such as ``openai/clip-vit-base-patch32``.
        revision: the commit of a hub name, 40 hexadecimal digits.

    Raises:
        SettingsError: there is neither such a folder nor such a name, the revision is missing, the hub cannot be
            reached, or what is there has no safetensors.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        return check_folder(folder)
    if not HUB_NAME.fullmatch(source):
        raise SettingsError(f"{source} is no folder. Give a folder with {CONFIG_FILE} and safetensors, or a hub name.")
    if revision is None:
        raise SettingsError(
            f"{source} is no folder here, and as a name on the hub it needs a revision: the commit, "
            f"{COMMIT_DIGITS} hexadecimal digits, which the hub shows under 'Files and versions'."
        )
    cached = _cached(source, revision)
    return check_folder(_download(source, revision) if cached is None else cached)


def check_folder(folder: Path) -> Path:
    """Check that a folder holds a model that can be loaded without unpickling anything.

    Raises:
        SettingsError: it has no configuration, or no safetensors.
    """
    if not (folder / CONFIG_FILE).is_file():
        raise SettingsError(f"{folder} holds no pretrained model: it has no {CONFIG_FILE}.")
    if not any((folder / name).is_file() for name in WEIGHTS):
        raise SettingsError(
            f"{folder} has no {WEIGHTS[0]}. Only safetensors are loaded, since a pickle runs code; save the model "
            "again with save_pretrained, or take a revision that has them."
        )
    return folder


def _cached(name: str, revision: str) -> Path | None:
    """The cache's folder of a revision, where it is whole."""
    from huggingface_hub import snapshot_download  # noqa: PLC0415 - not needed for a folder
    from huggingface_hub.errors import LocalEntryNotFoundError  # noqa: PLC0415

    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=NEEDED_FILES, local_files_only=True))
        return check_folder(folder)
    except (LocalEntryNotFoundError, SettingsError):
        return None


def _download(name: str, revision: str) -> Path:
    from huggingface_hub import snapshot_download  # noqa: PLC0415
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError  # noqa: PLC0415

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=NEEDED_FILES))
    except RepositoryNotFoundError as exc:
        raise SettingsError(f"The hub knows no {name}, or does not show it to you: check the name.") from exc
    except RevisionNotFoundError as exc:
        raise SettingsError(f"{name} has no revision {revision}: copy the commit from its 'History'.") from exc
    except (HfHubHTTPError, OSError) as exc:
        raise SettingsError(
            f"The model hub cannot be reached for {name} at {revision}, and this machine's cache does not have it "
            f"({type(exc).__name__}). Fetch it where there is a network with `activity fetch {name} --revision "
            f"{revision} --output FOLDER`, copy the folder here and name it as the source; or copy the cache and set "
            "HF_HOME to it."
        ) from exc
