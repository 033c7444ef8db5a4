"""From a source's safetensors to a backbone: every tensor accounted for."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from models.settings import SettingsError

MAX_NAMES = 5


def load_backbone(backbone: nn.Module, folder: Path, unused: tuple[str, ...], **options: Any) -> None:
    """Fill a transformers model with the weights of a folder, in float32.

    Args:
        backbone: the model, built from the folder's configuration.
        folder: ``config.json`` and safetensors, one file or several.
        unused: the beginnings of the names of tensors that are left out.
        options: of the library's ``from_pretrained``, such as ``key_mapping``.

    Raises:
        SettingsError: tensors are missing, of another shape, not finite, or neither the backbone's nor left out.
    """
    model: Any = backbone
    with quiet_transformers():
        try:
            loaded, report = type(model).from_pretrained(
                folder,
                config=copy.deepcopy(model.config),
                dtype=torch.float32,
                local_files_only=True,
                use_safetensors=True,
                ignore_mismatched_sizes=True,  # the report has them
                output_loading_info=True,
                **options,
            )
        except (OSError, RuntimeError, ValueError, SafetensorError) as exc:
            raise SettingsError(f"the weights of {folder} cannot be read: {exc}") from exc
    own = set(backbone.state_dict())  # the library's class may have a pooler that ours is built without
    check_tensors(
        folder,
        missing=own & set(report["missing_keys"]),
        unexpected=(name for name in report["unexpected_keys"] if not name.startswith(unused)),
        misshapen=(name for name, *_ in report["mismatched_keys"]),
        infinite_or_nan=(name for name, weight in loaded.named_parameters() if not weight.isfinite().all()),
    )
    backbone.load_state_dict({name: tensor for name, tensor in loaded.state_dict().items() if name in own})


def check_tensors(folder: Path, **faults: Any) -> None:
    """Name the tensors that do not fit, if there are any.

    Raises:
        SettingsError: with the first ones of each kind of fault.
    """
    said = []
    for fault, found in faults.items():
        names = sorted(found)
        if names:
            more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
            said.append(f"{fault}: {', '.join(names[:MAX_NAMES])}{more}")
    if said:
        raise SettingsError(f"the weights of {folder} are not those of its config.json: {'; '.join(said)}")


@contextmanager
def library_faults(source: str) -> Iterator[None]:
    """Say whose configuration it is that the library cannot follow: it raises whatever comes of that.

    Raises:
        SettingsError: in place of any other exception.
    """
    try:
        yield
    except SettingsError:
        raise
    except Exception as exc:
        raise SettingsError(f"the configuration of {source} cannot be used: {type(exc).__name__}: {exc}") from exc


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep the library's progress bars and reports from the user; what matters of them is an error of ours."""
    from transformers.utils import logging  # noqa: PLC0415 - costs seconds, and only pretrained encoders need it

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
