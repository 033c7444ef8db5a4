"""``activity synth``: datasets of real media files whose truth is known."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar, get_args

import typer

from cli.errors import CommandError
from cli.progress import bars, say, stderr

if TYPE_CHECKING:
    from training.synth.dataset import Progress, RenderSettings

Jobs = Annotated[int, typer.Option(min=1, help="Processes.", show_default="the cores that may be used")]
ALL_CORES = len(os.sched_getaffinity(0))
Track = Literal["imu", "depth"]
Bit = Literal["motion", "sound", "phrase"]
Name = TypeVar("Name", bound=str)


class Kind(StrEnum):
    """What a dataset shows."""

    ACTIVITY = "activity"
    EVENTS = "events"
    SENTIMENT = "sentiment"
    MOMENTS = "moments"


def synth(  # noqa: PLR0913 - each is an option
    out: Annotated[Path, typer.Argument(help="Folder for clips and manifest.jsonl; made where it is missing.")],
    kind: Annotated[Kind, typer.Option(help="What the clips show.")] = Kind.ACTIVITY,
    clips: Annotated[int, typer.Option(min=1, help="How many clips.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Another seed gives a held-out set.")] = 0,
    val_fraction: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of the clips of split 'val'.")] = 0.1,
    tracks: Annotated[
        str, typer.Option(help="Of an activity set: further views of the motion, of imu and depth, by commas.")
    ] = "",
    labels: Annotated[
        str, typer.Option(help="Of an activity set: what the labels are made of, by commas.")
    ] = "motion,sound,phrase",
    jobs: Jobs = ALL_CORES,
    *,
    force: Annotated[bool, typer.Option("--force", help="Replace the dataset that OUT holds.")] = False,
) -> None:
    """Render a dataset of real media files whose truth is known.

    activity: each of eight activities is a motion, a sound and a phrase, one bit each: by construction one modality
    alone cannot name more than 25 % of them and two not more than 50 %. --tracks adds an inertial sensor (CSV) and a
    depth video, which show the motion once more; --labels motion,sound leaves four labels, which no words are needed
    for.

    events: a concert, a lecture or a sporting event as a picture, a sound and a table's row. sentiment: negative,
    neutral or positive as a face, a voice and a sentence. In both, each modality is misleading in a known share of the
    clips.

    moments: for retrieval. The clips of activity, but the tone keeps step with the motion, and the words say what is
    seen and heard: so each modality can be found by the others.

    OUT/dataset.json says what can be reached at most with each subset of the modalities. On one core a clip of
    activity takes about 0.7 s, of sentiment 0.2 s, of events 0.04 s.

    [bold]Examples[/bold]

    $ activity synth runs/data --clips 480 --seed 1
    $ activity synth runs/held-out --clips 400 --seed 2 --val-fraction 0
    $ activity synth runs/events --kind events --clips 600 --seed 1
    $ activity synth runs/moments --kind moments --clips 220 --seed 1
    $ activity synth runs/tracks --tracks imu,depth --labels motion,sound
    """
    chosen: tuple[Track, ...] = _read_names("--tracks", tracks, get_args(Track))
    bits: tuple[Bit, ...] = _read_names("--labels", labels, get_args(Bit))
    if not bits:
        raise CommandError("--labels names nothing", remedy="Name some of motion, sound and phrase.")
    if kind != Kind.ACTIVITY and (chosen or len(bits) < len(get_args(Bit))):
        raise CommandError(f"--tracks and --labels are not for {kind.value}", remedy="Leave them out.")
    from training.synth.dataset import MANIFEST_NAME, RenderSettings  # noqa: PLC0415 - help must not wait for the work's

    if (out / MANIFEST_NAME).exists():
        if not force:
            raise CommandError(
                f"{out} holds a dataset already", remedy="Name another folder, or replace it by --force."
            )
        shutil.rmtree(out / "clips", ignore_errors=True)
    settings = RenderSettings(clips, seed, val_fraction, jobs)
    with bars() as report:
        manifest = _render(kind, out, settings, chosen, bits, lambda i, n: report("Rendering", i, n))
    stderr.print(f"[bold]{manifest}[/bold]: {clips} clips")
    recipe = _find_recipe(kind, chosen, bits)
    if recipe is not None:
        say(f"Next: activity train config/recipes/{recipe}.yaml --data {shlex.quote(str(manifest))} --output runs/mine")


def _find_recipe(kind: Kind, tracks: Sequence[Track], bits: Sequence[Bit]) -> str | None:
    """The shipped recipe whose labels and modalities a dataset has; None where there is none."""
    if kind == Kind.MOMENTS:
        return "towers"
    if kind != Kind.ACTIVITY:
        return kind.value
    if len(bits) == len(get_args(Bit)):
        return "demo"
    if "imu" in tracks and tuple(bits) == ("motion", "sound"):
        return "imu"
    return "depth" if "depth" in tracks and tuple(bits) == ("motion",) else None


def _render(
    kind: Kind, out: Path, settings: RenderSettings, tracks: Sequence[Track], bits: Sequence[Bit], progress: Progress
) -> Path:
    from training.synth.events.render import render_events  # noqa: PLC0415 - as above
    from training.synth.moments.render import render_moments  # noqa: PLC0415
    from training.synth.render import render_dataset  # noqa: PLC0415
    from training.synth.sentiment.render import render_sentiment  # noqa: PLC0415

    if kind == Kind.EVENTS:
        return render_events(out, settings, progress=progress)
    if kind == Kind.MOMENTS:
        return render_moments(out, settings, progress=progress)
    if kind == Kind.SENTIMENT:
        return render_sentiment(out, settings, progress=progress)
    return render_dataset(
        out,
        settings.num_clips,
        settings.seed,
        val_fraction=settings.val_fraction,
        jobs=settings.jobs,
        tracks=tracks,
        bits=bits,
        progress=progress,
    )


def _read_names(option: str, value: str, known: tuple[Name, ...]) -> tuple[Name, ...]:
    """The names that an option lists, in the order of ``known``."""
    given = {name.strip() for name in value.split(",") if name.strip()}
    unknown = given - set(known)
    if unknown:
        raise CommandError(
            f"{option} names {', '.join(sorted(unknown))}", remedy=f"Name some of {', '.join(known)}, by commas."
        )
    return tuple(name for name in known if name in given)
