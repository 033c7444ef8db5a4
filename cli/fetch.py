"""``activity fetch``: a pretrained model from the hub, or from torchvision, as a folder that needs no network."""

from __future__ import annotations

import pickle  # the error's name; nothing is unpickled
from pathlib import Path
from typing import Annotated

import typer

from cli.errors import CommandError, user_errors
from cli.progress import say, step

TORCHVISION = "torchvision"


def fetch(
    source: Annotated[
        str,
        typer.Argument(help="A name on the model hub, or torchvision:MODEL:WEIGHTS such as torchvision:s3d:DEFAULT."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the model.")],
    revision: Annotated[
        str | None, typer.Option(help="The commit of a name on the hub, 40 hexadecimal digits.", metavar="COMMIT")
    ] = None,
    *,
    force: Annotated[bool, typer.Option("--force", help="Replace the model that OUTPUT holds.")] = False,
) -> None:
    """Fetch a pretrained model into a folder, which a recipe then names as its source.

    Of a model on the hub only configuration, processor, tokenizer and safetensors come, at one commit: nothing that
    runs code. What the hub's cache on this machine holds already is not fetched again. Torchvision's weights are read
    as weights alone and written as safetensors.

    [bold]Examples[/bold]

    $ activity fetch openai/clip-vit-base-patch32 --revision c237dc49a33fc61debc9276459120b7eac67e7ef -o weights/clip
    $ activity fetch torchvision:s3d:KINETICS400_V1 -o weights/s3d
    """
    if (output / "config.json").exists() and not force:
        raise CommandError(f"{output} holds a model already", remedy="Name another folder, or replace it by --force.")
    if output.is_dir() and any(output.iterdir()) and not (output / "config.json").exists():
        raise CommandError(f"{output} holds other things", remedy="Name a folder of the model's own.")
    kind, _, named = source.partition(":")
    at = "" if revision is None else f" at {revision}"
    with user_errors(), step(f"Fetching {source}{at}"):
        if kind == TORCHVISION:
            _fetch_torchvision(named, output)
        else:
            _fetch_hub(source, revision, output)
    size = sum(path.stat().st_size for path in output.iterdir() if path.is_file())
    say(f"{output}: {size / 1e6:.1f} MB; name it as a recipe's source")


def _fetch_hub(name: str, revision: str | None, output: Path) -> None:
    from models.pretrained.source import find_source  # noqa: PLC0415 - help must not wait for these
    from models.side_models import copy_model  # noqa: PLC0415

    copy_model(find_source(name, revision), output)


def _fetch_torchvision(named: str, output: Path) -> None:
    """``MODEL:WEIGHTS`` of torchvision, from its cache on this machine or its site."""
    from torchvision import models  # noqa: PLC0415

    from models.pretrained.torchvision_folder import is_encoder, save_torchvision  # noqa: PLC0415

    model, _, wanted = named.partition(":")
    try:
        choices = models.get_model_weights(model)
    except ValueError:
        choices = None
    known = [name for name in models.list_models(models.video) if is_encoder(name)]
    if choices is None or model not in known:
        raise CommandError(
            f"torchvision's {model or 'nothing'} is no video encoder that a recipe can take",
            remedy=f"Take one of {', '.join(known)}.",
        )
    if wanted not in choices.__members__:
        raise CommandError(
            f"torchvision has no weights {wanted!r} of {model}",
            remedy=f"Take one of {', '.join(f'{TORCHVISION}:{model}:{name}' for name in choices.__members__)}.",
        )
    weights = choices[wanted]
    try:
        state_dict = weights.get_state_dict(progress=False, check_hash=True, weights_only=True, map_location="cpu")
    except OSError as exc:  # of urllib, too
        raise CommandError(
            f"torchvision's weights cannot be fetched ({exc})",
            remedy=f"Where there is a network, fetch them there and copy the folder here. They stand at {weights.url}",
        ) from exc
    except pickle.UnpicklingError as exc:
        raise CommandError(
            f"the file of {weights.url} in torch's cache holds things that are not weights alone",
            remedy="Delete it there (TORCH_HOME, else ~/.cache/torch/hub/checkpoints) and fetch it again.",
        ) from exc
    save_torchvision(model, state_dict, output)
