"""Builds the ``.mar`` that TorchServe serves: code, weights, labels, preprocessing, tokenizer, settings and a canary.

At the archive's root::

    activity_handler.py    the entry, alone with one class
    handler/  models/      the packages it imports, tests and training left out
    model.safetensors  model.json  tokenizer.json  tokenizer-NAME.json
    transcriber/  captioner/  where the model has them, each whole
    model-config.yaml      TorchServe's settings of this model
    requirements.txt       exact versions of what the code imports
    canary/                a file for each part of a request, such as clip.mp4 and words.vtt, and the answer to it,
                           expected.json
    MAR-INF/MANIFEST.json  written by torch-model-archiver

The same input gives the same bytes: entries are sorted, stored uncompressed (weights do not compress, and compressors
differ between builds) and dated alike. Weights are copied once, from the checkpoint straight into the archive, piece by
piece: the archiver gets empty files in their place.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import yaml

from cli.archive_check import write_sum
from cli.archive_size import check_room, measure_archive
from cli.canary import EXPECTED_NAME, FOLDER, OPTIONS, file_name
from cli.errors import CommandError
from cli.progress import say, step

if TYPE_CHECKING:
    from handler.limits import Limits

PROJECT = Path(__file__).resolve().parent.parent
PACKAGES = ("handler", "models")
ENTRY = PROJECT / "handler" / "activity_handler.py"
MODEL_CONFIG = PROJECT / "config" / "model-config.yaml"
LOCK = PROJECT / "requirements.lock"

REQUIREMENTS = (
    "av",
    "numpy",
    "pyarrow",
    "pydantic",
    "pyyaml",
    "safetensors",
    "tokenizers",
    "torch",
    "torchaudio",
    "torchvision",
)
"""What handler/ and models/ import, beside TorchServe itself."""

PRETRAINED_REQUIREMENTS = ("transformers",)
"""What they import besides, where a model has a pretrained part."""

COPY_BYTES = 4 * 1024 * 1024
"""Of a file in memory at a time."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
MANIFEST = "MAR-INF/MANIFEST.json"
EARLIEST_ZIP_DATE = (1980, 1, 1, 0, 0, 0)
FILE_MODE = 0o644 << 16


@dataclass(frozen=True)
class ArchiveSummary:
    """A built archive."""

    path: Path
    size_bytes: int
    sha256: str
    num_files: int


def build_archive(
    checkpoint: Path, output: Path, *, name: str | None = None, version: str | None = None
) -> ArchiveSummary:
    """Build an archive from a checkpoint folder.

    Args:
        checkpoint: folder with model.safetensors, model.json and tokenizer.json.
        output: the ``.mar`` file to write; its folder is made, an older file is replaced at the very end. Its
            SHA-256 is written beside it (:mod:`cli.archive_check`).
        name: the model's name, in the archive and in its answers; None is the checkpoint's own.
        version: the model's version, likewise.

    Raises:
        CommandError: when the checkpoint is none, name or version are not allowed, or the settings are faulty.
    """
    limits = read_limits(MODEL_CONFIG)
    output.parent.mkdir(parents=True, exist_ok=True)
    # A folder of its own: the archiver deletes <its temp folder>/<name> before it begins.
    with tempfile.TemporaryDirectory(prefix="activity-package-") as scratch:
        stage = Path(scratch, "stage")
        with step("Reading the checkpoint"):
            staged = _stage_checkpoint(checkpoint, stage, name, version)
            stage_code(stage, needs_transformers=staged.needs_transformers)
        with step("Rendering the canary and asking the model"):
            _stage_canary(stage, limits)
        for file in staged.weights:
            (stage / file).unlink()
            (stage / file).touch()
        archived = _run_archiver(stage, Path(scratch), name=staged.name, version=staged.version)
        return _write_archive(archived, output, staged.weights)


def read_limits(model_config: Path) -> Limits:
    """The limits that an archive will be served with; a server with faulty settings would not start.

    Args:
        model_config: TorchServe's settings of the model.

    Raises:
        CommandError: its section ``handler`` has a key or a value that it cannot have.
    """
    from handler.limits import HandlerSettings  # noqa: PLC0415
    from models.settings import SettingsError  # noqa: PLC0415

    section = yaml.safe_load(model_config.read_text(encoding="utf-8")).get("handler") or {}
    try:
        return HandlerSettings.read(section, source=f"{model_config}, handler").limits
    except SettingsError as exc:
        raise CommandError(str(exc), remedy="handler/limits.py says what each setting is.") from exc


@dataclass(frozen=True)
class _Staged:
    """A checkpoint that stands in the stage: small files as copies, weights as links."""

    name: str
    version: str
    weights: Mapping[str, Path]
    """The safetensors, by name in the archive: where each stands."""
    needs_transformers: bool


def stage_code(stage: Path, *, needs_transformers: bool) -> None:
    """Copy what the archive's code consists of."""
    for package in PACKAGES:
        shutil.copytree(
            PROJECT / package, stage / package, ignore=shutil.ignore_patterns("__pycache__", "*.pyc", ENTRY.name)
        )
    wanted = (*REQUIREMENTS, *PRETRAINED_REQUIREMENTS) if needs_transformers else REQUIREMENTS
    lines = select_requirements(LOCK.read_text(encoding="utf-8"), wanted)
    (stage / "requirements.txt").write_text(lines, encoding="utf-8")


def select_requirements(lock: str, wanted: Collection[str]) -> str:
    """The lines of a lock file that name what the archive imports, without their hashes."""
    lines = [line.removesuffix("\\").rstrip() for line in lock.splitlines() if line and not line[0].isspace()]
    return "".join(f"{line}\n" for line in lines if line.partition("==")[0] in wanted)


def _stage_checkpoint(checkpoint: Path, stage: Path, name: str | None, version: str | None) -> _Staged:
    """Lay the checkpoint out, named as it will be served."""
    from models.checkpoint import (  # noqa: PLC0415 - it imports torch
        DESCRIPTION_FILE,
        WEIGHTS_FILE,
        read_description,
        tokenizer_files,
        write_description,
    )
    from models.settings import SettingsError  # noqa: PLC0415
    from models.side_models import needs_transformers, side_model_files  # noqa: PLC0415

    try:
        description = read_description(checkpoint)
    except SettingsError as exc:
        raise CommandError(str(exc), remedy="Name the checkpoint's folder with --checkpoint.") from exc
    identity = {"name": name or description.name, "version": version or description.version}
    for what, value in identity.items():
        if not NAME.fullmatch(value):
            raise CommandError(
                f"The {what} '{value}' cannot be used.", remedy="Use letters, digits, dots, hyphens and underscores."
            )
    try:
        side_files = side_model_files(description.config, checkpoint)
    except SettingsError as exc:
        raise CommandError(str(exc), remedy="Copy it there again, or assemble the checkpoint anew.") from exc
    weights: dict[str, Path] = {}
    for file in (WEIGHTS_FILE, *tokenizer_files(description.config), *side_files):
        if not (checkpoint / file).is_file():
            raise CommandError(
                f"{checkpoint} has no {file}.", remedy=f"It belongs beside {DESCRIPTION_FILE}: train or fetch it again."
            )
        (stage / file).parent.mkdir(parents=True, exist_ok=True)
        if file.endswith(".safetensors"):
            weights[file] = (checkpoint / file).resolve()
            (stage / file).symlink_to(weights[file])
        else:
            shutil.copyfile(checkpoint / file, stage / file)
    write_description(stage, description.model_copy(update=identity))
    return _Staged(identity["name"], identity["version"], weights, needs_transformers(description.config))


def _stage_canary(stage: Path, limits: Limits) -> None:
    from cli.canary_parts import choose_options, render_parts  # noqa: PLC0415 - it imports torch
    from handler.pipeline import ActivityPipeline  # noqa: PLC0415
    from models.settings import SettingsError  # noqa: PLC0415

    try:
        pipeline = ActivityPipeline.from_checkpoint(stage, limits=limits)
    except SettingsError as exc:
        raise CommandError(
            str(exc), remedy="The checkpoint does not fit this version of the code; train it again."
        ) from exc
    parts = render_parts(pipeline.config)
    options = choose_options(pipeline.config)
    if options:
        parts[OPTIONS] = json.dumps(options, ensure_ascii=False).encode("utf-8")
    (response,) = pipeline.respond([{name: bytearray(content) for name, content in parts.items()}], ["canary"])
    if response.status != 200:
        raise CommandError(
            f"The model does not answer the canary: {response.body.decode('utf-8')}",
            remedy="The checkpoint does not fit this version of the code: train it again. Or the limits in "
            f"{MODEL_CONFIG.name} are too narrow for a clip.",
        )
    folder = stage / FOLDER
    folder.mkdir()
    for name, content in parts.items():
        (folder / file_name(name)).write_bytes(content)
    (folder / EXPECTED_NAME).write_bytes(response.body)


def _run_archiver(stage: Path, scratch: Path, *, name: str, version: str) -> Path:
    exported, temp = scratch / "exported", scratch / "temp"
    exported.mkdir()
    temp.mkdir()
    command = [
        *(sys.executable, "-P", "-m", "model_archiver.model_packaging"),
        *("--model-name", name, "--version", version),
        *("--handler", str(ENTRY)),
        *("--serialized-file", str(stage / "model.safetensors")),
        *("--extra-files", str(stage)),
        *("--requirements-file", str(stage / "requirements.txt")),
        *("--config-file", str(MODEL_CONFIG)),
        *("--export-path", str(exported)),
        *("--archive-format", "zip-store"),
    ]
    done = subprocess.run(command, env={**os.environ, "TMPDIR": str(temp)}, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CommandError(
            f"torch-model-archiver failed:\n{done.stderr.strip()}", remedy="Check that there is space left on the disk."
        )
    return exported / f"{name}.mar"


def _write_archive(archived: Path, output: Path, weights: Mapping[str, Path]) -> ArchiveSummary:
    """Copy the archiver's entries in order and dated alike, with the weights in their empty files' places."""
    draft = output.with_name(f".{output.name}.{os.getpid()}.tmp")
    try:
        with zipfile.ZipFile(archived) as source:
            manifest = _without_date(source.read(MANIFEST))
            sizes = {entry.filename: entry.file_size for entry in source.infolist()}
            sizes |= {MANIFEST: len(manifest), **{name: path.stat().st_size for name, path in weights.items()}}
            measured = measure_archive(sizes, weights)
            say(str(measured))
            check_room(output.parent, measured.total)
            with step("Writing the archive"), zipfile.ZipFile(draft, "w", zipfile.ZIP_STORED) as target:
                for name in sorted(sizes):
                    if name == MANIFEST:
                        _write_entry(target, name, io.BytesIO(manifest), sizes[name])
                        continue
                    with weights[name].open("rb") if name in weights else source.open(name) as content:
                        _write_entry(target, name, content, sizes[name])
        with draft.open("rb") as written:
            sha256 = hashlib.file_digest(written, "sha256").hexdigest()
        draft.replace(output)
        write_sum(output, sha256)
    finally:
        draft.unlink(missing_ok=True)
    return ArchiveSummary(output, output.stat().st_size, sha256, len(sizes))


def _write_entry(target: zipfile.ZipFile, name: str, content: IO[bytes], size: int) -> None:
    entry = zipfile.ZipInfo(name, date_time=EARLIEST_ZIP_DATE)
    entry.external_attr = FILE_MODE
    entry.file_size = size  # from which zipfile knows beforehand whether the entry needs the 64-bit form
    with target.open(entry, "w") as place:
        shutil.copyfileobj(content, place, COPY_BYTES)


def _without_date(manifest: bytes) -> bytes:
    values = json.loads(manifest)
    values.pop("createdOn", None)
    return (json.dumps(values, indent=2) + "\n").encode("utf-8")
