"""The whole path once, from weights to a served answer beside the truth: what scripts/demo.sh runs."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cli.app import flow, run
from cli.archive import build_archive
from cli.canary import read_canary
from cli.destination import Destination
from cli.errors import CommandError
from cli.package import DEFAULT_ARCHIVE, DEMO_CHECKPOINT
from cli.progress import say, step
from cli.record import ServerRecord
from cli.server import PROJECT, ServeSettings, end_server, start_server
from cli.timeline import Axis, TimedLabel, render_comparison
from client.answer import Answer
from client.errors import Refused

CLIP_NAME, WORDS_NAME = "clip.mp4", "words.vtt"
VERIFICATION = PROJECT / "docs" / "verification.md"


@dataclass(frozen=True)
class Sample:
    """A rendered clip with its truth."""

    video: bytes
    words: bytes
    true: tuple[TimedLabel, ...]


@dataclass(frozen=True)
class Observation:
    """What the demo saw."""

    sample: Sample
    rest: Answer
    grpc: Answer
    refused_without_token: bool
    canary_asked: bool

    @property
    def predicted(self) -> tuple[TimedLabel, ...]:
        """The served segments."""
        return tuple(TimedLabel.from_json(segment) for segment in self.rest.json()["segments"])


def demo(
    run_dir: Annotated[Path, typer.Option(help="A folder for the server and the clip.")],
    *,
    checkpoint: Annotated[
        Path, typer.Option(help="The model to show.", show_default="model-store/demo")
    ] = DEMO_CHECKPOINT,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the server running.")] = False,
    verification: Annotated[
        Path, typer.Option(help="Where to write what was seen.", show_default="docs/verification.md")
    ] = VERIFICATION,
) -> None:
    """Package, serve, render a clip, ask by REST and by gRPC, and show the true timeline beside the predicted one."""
    archive = build_archive(checkpoint, DEFAULT_ARCHIVE)
    record = start_server(ServeSettings(archive=archive.path, run_dir=run_dir.absolute()))
    try:
        observation = observe(record, archive.path)
        show(observation)
        from cli.verification import write_verification  # noqa: PLC0415 - it imports torch, which has had its step

        write_verification(verification, observation, checkpoint)
        say(f"Written: {verification}")
    except BaseException:
        end_server(record)
        raise
    if keep:
        say(next_steps(record))
        return
    with step("Stopping TorchServe"):
        end_server(record)


def observe(record: ServerRecord, archive: Path) -> Observation:
    """Render the clip and ask the server for it every way; the clip stays in the run folder.

    Raises:
        CommandError: when an answer is an error, or the two ways differ.
    """
    sample = render_sample()
    Path(record.run_dir, CLIP_NAME).write_bytes(sample.video)
    Path(record.run_dir, WORDS_NAME).write_bytes(sample.words)
    destination = Destination.of_record(record)
    parts = {"video": sample.video, "text": sample.words}
    with step("Asking by REST"):
        rest = destination.ask(parts, {})
    with step("Asking by gRPC"):
        grpc = destination.ask(parts, {}, grpc=True)
    if not rest.ok:
        raise CommandError(
            f"The clip was answered with an error: {rest.body.decode('utf-8', 'replace')}",
            remedy=f"The server's logs are in {record.logs}.",
        )
    if rest.body != grpc.body:
        raise CommandError(
            "REST and gRPC gave different answers to the same clip.", remedy="This is a defect: please report it."
        )
    return Observation(
        sample=sample,
        rest=rest,
        grpc=grpc,
        refused_without_token=_is_refused(record),
        canary_asked=read_canary(archive) is not None,
    )


def render_sample() -> Sample:
    """A clip of about 20 s with four activities."""
    from training.synth.samples import render_demo  # noqa: PLC0415

    with step("Rendering a clip") as rendering:
        clip = render_demo()
        rendering.result(f"{len(clip.video) / 1e3:.0f} kB mp4, {len(clip.segments)} activities")
    true = tuple(TimedLabel(part.start_seconds, part.stop_seconds, part.label) for part in clip.segments)
    return Sample(clip.video, clip.words.encode("utf-8"), true)


def show(observation: Observation) -> None:
    """Print the true timeline beside the predicted one."""
    answer = observation.rest.json()
    axis = Axis(answer["start_seconds"], answer["duration_seconds"])
    render_comparison(observation.sample.true, observation.predicted, axis, Console(highlight=False))
    say("REST and gRPC gave the same bytes.")


def next_steps(record: ServerRecord) -> str:
    """The commands to try against a server that is left running."""
    python = shlex.quote(sys.executable)
    code = f'import json; print(json.load(open("{record.key_file}"))["inference"]["key"])'
    clip, words = Path(record.run_dir, CLIP_NAME), Path(record.run_dir, WORDS_NAME)
    run_dir = shlex.quote(record.run_dir)
    activity = shlex.quote(str(Path(sys.executable).with_name("activity")))
    return "\n".join(
        [
            "The server is left running. Try next:",
            f'curl --header "Authorization: Bearer $({python} -c {shlex.quote(code)})" \\',
            f"  --form {shlex.quote(f'video=@{clip}')} --form {shlex.quote(f'text=@{words}')} \\",
            f"  {record.inference_url}/predictions/{record.model}",
            "or, and to end it:",
            f"{activity} predict {shlex.quote(str(clip))} --text {shlex.quote(str(words))} --run-dir {run_dir}",
            f"{activity} stop --run-dir {run_dir}",
        ]
    )


def _is_refused(record: ServerRecord) -> bool:
    stranger = Destination(record.inference_url, record.grpc_target, token=None, model=record.model)
    try:
        stranger.ask({"text": b"hello"}, {})
    except Refused:
        return True
    return False


application = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_show_locals=False)
application.command(help=flow(demo.__doc__ or ""))(demo)

if __name__ == "__main__":
    run(application)
