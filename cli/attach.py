"""``activity attach``: a checkpoint gets a transcriber or a captioner, without training."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.errors import CommandError, user_errors
from cli.progress import say, step

if TYPE_CHECKING:
    from models.checkpoint import CheckpointDescription

REVISION = "Its commit, where it is a name on the model hub."


def attach(
    checkpoint: Annotated[Path, typer.Argument(help="The checkpoint's folder.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the new checkpoint.")],
    *,
    transcriber: Annotated[
        str | None, typer.Option(help="A Whisper: a folder, or a name on the model hub.", metavar="SOURCE")
    ] = None,
    transcriber_revision: Annotated[str | None, typer.Option(help=REVISION, metavar="COMMIT")] = None,
    language: Annotated[
        str | None, typer.Option(help="What is spoken, such as english.", show_default="found out")
    ] = None,
    captioner: Annotated[
        str | None,
        typer.Option(help="A BLIP or LLaVA-like model: a folder, or a name on the model hub.", metavar="SOURCE"),
    ] = None,
    captioner_revision: Annotated[str | None, typer.Option(help=REVISION, metavar="COMMIT")] = None,
    prompt: Annotated[
        str | None, typer.Option(help="What the captioner is asked, or how its sentences begin.", show_default="none")
    ] = None,
) -> None:
    """Give a trained checkpoint a transcriber, a captioner, or both.

    With a transcriber, a request's text "auto" takes the words from its sound. With a captioner, its extra
    "descriptions" adds a sentence to each segment. CHECKPOINT stays as it is; OUTPUT holds all that it holds, and the
    new models whole, so that the archive made of it needs no network.

    [bold]Examples[/bold]

    $ activity attach model-store/demo --transcriber weights/whisper --language english -o runs/hearing
    $ activity attach runs/mine --captioner weights/blip --prompt "a video of" -o runs/telling
    """
    if transcriber is None and captioner is None:
        raise CommandError("there is nothing to attach", remedy="Name one by --transcriber or --captioner.")
    if output.exists() and not (output.is_dir() and not any(output.iterdir())):
        raise CommandError(f"{output} is no empty folder", remedy="Name another folder.")
    asked = {
        "transcriber": _settings(source=transcriber, revision=transcriber_revision, language=language),
        "captioner": _settings(source=captioner, revision=captioner_revision, prompt=prompt),
    }
    with user_errors(), step("Attaching"):
        from handler.pipeline import ActivityPipeline  # noqa: PLC0415 - help must not wait for these
        from models.checkpoint import CheckpointDescription, read_description  # noqa: PLC0415

        description = read_description(checkpoint)
        values = description.model_dump(mode="json")
        values["config"] |= {name: settings for name, settings in asked.items() if settings is not None}
        draft = output.with_name(f".{output.name}.{os.getpid()}.tmp")
        try:
            _write(checkpoint, draft, description, CheckpointDescription.read(values, source="the options"))
            ActivityPipeline.from_checkpoint(draft)  # what does not load is said here, not where it is served
            draft.replace(output)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    say(f"Next: activity package --checkpoint {shlex.quote(str(output))} -o model-store/mine.mar")


def _settings(source: str | None, **settings: str | None) -> dict[str, str | None] | None:
    given = [name for name, value in settings.items() if value is not None]
    if source is None and given:
        raise CommandError(f"--{given[0]} is of a model that is not named", remedy="Name its source, or leave it out.")
    return None if source is None else {"source": source, **settings}


def _write(checkpoint: Path, output: Path, old: CheckpointDescription, new: CheckpointDescription) -> None:
    """The new side models from their sources, all else as the checkpoint holds it."""
    from models.checkpoint import WEIGHTS_FILE, tokenizer_files, write_description  # noqa: PLC0415 - it imports torch
    from models.side_models import copy_model, copy_side_models, side_models  # noqa: PLC0415

    kept = side_models(old.config)
    fresh = {name: None for name, side in kept.items() if side_models(new.config)[name] == side}
    copy_side_models(new.config.model_copy(update=fresh), output)
    output.mkdir(parents=True, exist_ok=True)
    for name in fresh:
        copy_model(checkpoint / name, output / name)
    for file in (WEIGHTS_FILE, *tokenizer_files(new.config)):
        shutil.copyfile(checkpoint / file, output / file)
    write_description(output, new)
