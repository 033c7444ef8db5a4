"""``activity search``: the moments of an index that are like a text, a clip or a sound."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cli.errors import CommandError, user_errors
from cli.printable import printable
from cli.progress import step

if TYPE_CHECKING:
    from handler.embedding import Embedder
    from retrieval.search import Found, Query, Searcher


def search(  # noqa: PLR0913 - each is an option
    index: Annotated[Path, typer.Argument(help="The index's folder.")],
    text: Annotated[str | None, typer.Argument(help="Words that say what is looked for.")] = None,
    *,
    clip: Annotated[
        Path | None, typer.Option(help="A clip like what is looked for.", exists=True, dir_okay=False)
    ] = None,
    sound: Annotated[Path | None, typer.Option(help="A sound, or a clip's sound.", exists=True, dir_okay=False)] = None,
    top: Annotated[int, typer.Option(min=1, help="How many moments.")] = 10,
    modality: Annotated[
        list[str] | None, typer.Option(help="Look at these modalities of the moments only; may be repeated.")
    ] = None,
    by: Annotated[
        list[str] | None, typer.Option(help="Use these modalities of the clip that asks only; may be repeated.")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="The checkpoint that embeds.", show_default="where it was when indexing")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Answer with JSON, for programs.")] = False,
) -> None:
    """Find moments by words, by a clip or by a sound.

    What is asked for is compared with every modality of every window: with its own where a window has it (a sound with
    sounds), else with the others (a sound with pictures). The score is how much more likely a window belongs to the
    query than one at random, as a natural logarithm; of windows that overlap, the best stands for the others.

    [bold]Examples[/bold]

    $ activity search runs/index "a green ring waves slowly while a low tone rises"
    $ activity search runs/index --clip clip.mp4 --top 5
    $ activity search runs/index --sound tone.wav --modality video --json
    """
    if sum(given is not None for given in (text, clip, sound)) != 1 or (text is not None and not text.strip()):
        raise CommandError("a search needs one of TEXT, --clip and --sound", remedy="Give one of them.")
    if text is not None and any(0xD800 <= ord(character) < 0xE000 for character in text):  # bytes of another encoding
        raise CommandError("TEXT is no UTF-8", remedy="Give words in UTF-8.")
    with user_errors():
        with step("Loading the index"):
            from retrieval.digest import digest_checkpoint  # noqa: PLC0415 - help must not wait for the work's
            from retrieval.search import Searcher  # noqa: PLC0415

            searcher = Searcher.read(index)
            folder = checkpoint or searcher.identity.checkpoint
            searcher.check(digest_checkpoint(folder))
        with step("Loading the checkpoint"):
            from handler.embedding import Embedder  # noqa: PLC0415 - as above
            from models.checkpoint import load_checkpoint  # noqa: PLC0415

            embedder = Embedder(load_checkpoint(folder))
        query = _build_query(embedder, text, clip, sound, by)
        found = searcher.search(query, top=top, modalities=modality)
    if as_json:
        typer.echo(json.dumps({"moments": [_to_json(it, searcher) for it in found]}, indent=2))
    else:
        _show(found, searcher)


def _build_query(
    embedder: Embedder, text: str | None, clip: Path | None, sound: Path | None, by: Sequence[str] | None
) -> Query:
    from handler.decode import decode_request  # noqa: PLC0415 - as above
    from handler.limits import Limits  # noqa: PLC0415
    from retrieval.search import clip_query, text_query  # noqa: PLC0415
    from retrieval.sources import Source, build_single_source  # noqa: PLC0415

    if text is not None:
        return text_query(embedder, text)
    if clip is not None:
        source = build_single_source(clip, embedder.config.modalities)
    else:
        assert sound is not None  # noqa: S101 - one of the three is given
        source = Source(sound.name, {"audio": sound})
    return clip_query(embedder, decode_request(source.read(), embedder.config, Limits()), by)


def _to_json(found: Found, searcher: Searcher) -> dict[str, Any]:
    return {
        "file": str(searcher.identity.root / found.file),
        "start_seconds": round(found.start_seconds, 6),
        "stop_seconds": round(found.stop_seconds, 6),
        "score": round(found.score, 6),
        "modality": found.modality,
        "cosines": {name: round(value, 6) for name, value in found.cosines.items()},
    }


def _show(found: Sequence[Found], searcher: Searcher) -> None:
    table = Table(title=f"Moments below {escape(printable(str(searcher.identity.root)))}", title_justify="left")
    table.add_column("file", overflow="fold", min_width=16)
    for title in ("from s", "to s", "score"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("cosine, what fits best first")
    for it in found:
        order = sorted(it.cosines, key=lambda name: name != it.modality)
        cosines = ", ".join(f"{name} {it.cosines[name]:.2f}" for name in order)
        seconds = (f"{it.start_seconds:.1f}", f"{it.stop_seconds:.1f}", f"{it.score:.2f}")
        table.add_row(escape(printable(it.file)), *seconds, cosines)
    Console(highlight=False).print(table)
