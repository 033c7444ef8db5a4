"""What transcription and description share: loading a side model, and making its words fit for any answer."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any

import torch

from handler.runtime import Runtime
from models.pretrained.weights import check_tensors
from models.settings import SettingsError

MAX_CHARACTERS = 1_000


def load_side_model(kind: Any, folder: Path, runtime: Runtime, **settings: Any) -> tuple[Any, Any]:
    """A generative model of the transformers library and its processor, from a folder, without a network or a pickle.

    Args:
        kind: the model's class, or the library's automatic one.
        folder: its files.
        runtime: the device; on a CPU the weights are float32.
        settings: further ones of ``from_pretrained``.

    Raises:
        SettingsError: the folder does not hold such a model, or not all of its weights.
    """
    from transformers import AutoProcessor  # noqa: PLC0415 - only where there is a side model
    from transformers.utils import logging  # noqa: PLC0415

    logging.set_verbosity_error()  # its hints are for those who write code with it
    logging.disable_progress_bar()
    local = {"local_files_only": True, "trust_remote_code": False}
    dtype = torch.float32 if runtime.device.type == "cpu" else runtime.dtype
    try:
        processor = AutoProcessor.from_pretrained(folder, **local)
        model, report = kind.from_pretrained(
            folder, use_safetensors=True, dtype=dtype, output_loading_info=True, **local, **settings
        )
    except Exception as exc:  # whatever the library makes of a file that is not what it seems
        raise SettingsError(f"the checkpoint's {folder.name} cannot be loaded: {exc}") from exc
    names = {name for name, _ in model.named_parameters()}
    check_tensors(folder, missing=names & set(report["missing_keys"]))  # the library would draw these by chance
    return model.to(runtime.device).eval(), processor


def one_line(text: str) -> str:
    """A model's words as one line of printable characters: no line break, control or half a character is left."""
    kept = "".join(" " if _is_unprintable(character) else character for character in text[:MAX_CHARACTERS])
    return " ".join(kept.split())


def _is_unprintable(character: str) -> bool:
    """Controls, format characters, surrogates, private ones, and what stands for bytes that are no character."""
    return unicodedata.category(character) in {"Cc", "Cf", "Cs", "Co", "Cn"} or character == "\ufffd"
