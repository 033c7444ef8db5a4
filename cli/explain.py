"""``activity explain``: a page that shows why a clip was answered as it was."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.errors import user_errors
from cli.package import DEMO_CHECKPOINT
from cli.predict import read_named_parts, read_text, read_whole_options
from cli.printable import printable
from cli.progress import say, step

if TYPE_CHECKING:
    from cli.explain_page import Explained
    from handler.clip import Clip, Cue
    from handler.pipeline import ActivityPipeline
    from handler.request import ActivityRequest

MAX_SECONDS = 600.0
"""Of a clip: in this process nobody waits behind it."""


def explain(
    clip: Annotated[
        Path, typer.Argument(help="The clip: a file with picture, sound or both.", exists=True, dir_okay=False)
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The page.", dir_okay=False)] = Path("report.html"),
    *,
    audio: Annotated[
        Path | None, typer.Option(help="A sound file, used in place of the clip's own.", exists=True, dir_okay=False)
    ] = None,
    text: Annotated[Path | None, typer.Option(help="Words, as of `activity predict`.", metavar="FILE|auto")] = None,
    part: Annotated[
        list[str] | None,
        typer.Option(help="Another part that the model takes, such as image=FILE or imu=FILE.", metavar="NAME=FILE"),
    ] = None,
    options: Annotated[
        str | None, typer.Option(help="Options of the request, one JSON object.", metavar="JSON")
    ] = None,
    checkpoint: Annotated[Path, typer.Option(help="The model.", show_default="model-store/demo")] = DEMO_CHECKPOINT,
) -> None:
    """Show why a clip is answered as it is: one page, which needs nothing but itself.

    The clip's frames, sound and words on one time axis; each window's scores before and after smoothing; the segments;
    what each modality contributed; which moments weighed most; how the modalities attend to each other. The model runs
    in this process. `activity predict --options '{"extras": ["explanation"]}'` gives the figures as JSON.

    [bold]Examples[/bold]

    $ activity explain clip.mp4 --text words.vtt -o report.html
    $ activity explain clip.mp4 --checkpoint runs/mine --options '{"threshold": 0.5}'
    """
    parts = {"video": clip.read_bytes()} | ({} if audio is None else {"audio": audio.read_bytes()})
    parts |= ({} if text is None else {"text": read_text(text)}) | read_named_parts(part or ())
    asked = read_whole_options(options, "an explanation")
    asked["extras"] = with_extras(asked.get("extras", []))
    inputs = [clip, audio, text, *(Path(pair.partition("=")[2]) for pair in part or ())]
    if output.exists() and any(path is not None and path.exists() and output.samefile(path) for path in inputs):
        raise typer.BadParameter("-o must be another file than what is explained")
    with user_errors(), step(f"Loading {checkpoint.name}"):
        from handler.limits import Limits  # noqa: PLC0415 - torch takes seconds: they are shown
        from handler.pipeline import ActivityPipeline  # noqa: PLC0415 - as above
        from handler.request import parse_request  # noqa: PLC0415 - as above

        limits = Limits(max_explained_seconds=MAX_SECONDS)
        pipeline = ActivityPipeline.from_checkpoint(checkpoint, limits=limits)
        request = parse_request({**parts, "options": asked}, limits, pipeline.config.vectors)
    with user_errors(), step("Explaining"):
        from cli.explain_page import render_page  # noqa: PLC0415 - as above

        page = render_page(examine(pipeline, request, printable(clip.name)))
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(page, encoding="utf-8")
    say(f"Open {printable(str(output))}")


def with_extras(extras: Any) -> list[Any]:
    """The extras that a page needs, and those that were asked for.

    Raises:
        typer.BadParameter: what was asked for is no list.
    """
    if not isinstance(extras, list):
        raise typer.BadParameter(f'--options: "extras" must be a list, got {extras!r}')
    return [*extras, "windows", "explanation"]


def examine(pipeline: ActivityPipeline, request: ActivityRequest, name: str) -> Explained:
    """Answer a request whose extras are windows and explanation, and gather what the page shows beside.

    Raises:
        ActivityError: what is wrong with the request.
    """
    import torch  # noqa: PLC0415 - help must not wait for it

    from cli.explain_page import Explained  # noqa: PLC0415 - as above

    clip, prediction = pipeline.examine(request)
    samples = mel = None
    audio = pipeline.config.audio
    if clip.samples is not None and audio is not None:
        inner = audio.context_samples // 2
        samples = clip.samples[:, inner : inner + pipeline.config.hop_samples].reshape(-1)
        (features,) = pipeline.scorer.transforms.prepare("audio", torch.from_numpy(clip.samples))
        mel = features.transpose(0, 1).flatten(1).numpy() if features.dim() == 3 and audio.pretrained is None else None
    return Explained(name, clip, prediction, find_cues(clip, request, pipeline), samples, mel)


def find_cues(clip: Clip, request: ActivityRequest, pipeline: ActivityPipeline) -> tuple[Cue, ...]:
    """The words that were used with their times; those without stand on the whole clip."""
    from handler.clip import Cue  # noqa: PLC0415 - as above
    from handler.text import parse_text  # noqa: PLC0415 - as above

    if clip.texts is None or clip.transcript is not None or request.text is None:
        return clip.transcript or ()
    words = parse_text(request.text, pipeline.limits)
    span = clip.schedule.span
    return words.cues if words.untimed is None else (Cue(span.start_seconds, span.stop_seconds, words.untimed),)
