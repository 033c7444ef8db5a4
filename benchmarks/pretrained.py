"""What do the shipped recipes with pretrained parts cost: memory, and seconds of work for a second of a clip?

    python -m benchmarks.pretrained [--only NAME ...] [--seconds 10] [--output FIGURES.json]

Makes checkpoints of the real sizes with random weights (:mod:`benchmarks.published`; the speed of a model does not
depend on the values of its weights), puts each recipe together with them, renders a clip of 1280 x 720 pixels, and asks
for it in a process of its own (:mod:`benchmarks.pretrained_stages`): with one and with two threads in turns on the CPU,
and where there is a GPU on it too, as it is and compiled. Beside the recipes stand some with another encoder in the
place of one. How many words a transcriber hears does not follow from its architecture: 4 tokens a second are asked for,
about what a fast speaker says; of a description 20 tokens.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import yaml
from rich.console import Console
from rich.table import Table
from safetensors import safe_open

from benchmarks.pretrained_stages import NOW_AND_THEN, Measured
from benchmarks.published import PUBLISHED
from cli.progress import say
from models.checkpoint import CheckpointDescription, save_checkpoint
from models.model import build_model
from models.pretrained.resolve import load_pretrained, resolve_pretrained
from models.pretrained.words import load_source_tokenizer
from models.side_models import copy_side_models
from models.tokenizer import train_tokenizer
from training.assemble import assemble
from training.recipe import Recipe
from training.synth.dealing import Deal
from training.synth.drawing import draw_frames
from training.synth.encode import encode_clip
from training.synth.labels import ACTIVITIES
from training.synth.render import write_words
from training.synth.script import draw_script
from training.synth.sound import render_waveform

RECIPES = Path("config/recipes")
WEIGHTS = "weights"
"""The folder in which the shipped recipes seek their sources."""
CLIP_SEED = (0, 249)
"""A clip of 30 frames a second and sound of 48 kHz that begins at 0."""
TOKENS_PER_SECOND = 4

Make = Callable[[Path], Path]
"""Writes a source into a folder."""


@dataclass(frozen=True)
class Case:
    """A recipe, perhaps with other sources than its own."""

    name: str
    recipe: Path
    instead: Mapping[str, str] = field(default_factory=dict)
    """Sources that take the place of others, both by the last part of their folders."""


@dataclass(frozen=True)
class Row:
    """What a case costs."""

    name: str
    num_parameters: int
    megabytes: float
    """Of the checkpoint."""
    measured: Measured


VARIANTS = (
    ("pretrained, CLIP L/14", "pretrained", {"clip": "clip-large"}),
    ("pretrained, DINOv2", "pretrained", {"clip": "dinov2"}),
    ("pretrained, Wav2Vec2", "pretrained", {"clap": "wav2vec2"}),
    ("pretrained-speech, Whisper small", "pretrained-speech", {"whisper-base": "whisper-small"}),
)


def find_cases() -> list[Case]:
    """The shipped recipes with pretrained parts, then their variants."""
    shipped = [
        Case(path.stem, path)
        for path in sorted(RECIPES.glob("*.yaml"))
        if any(sources_of(yaml.safe_load(path.read_text(encoding="utf-8"))))
    ]
    return shipped + [Case(name, RECIPES / f"{stem}.yaml", instead) for name, stem, instead in VARIANTS]


def sources_of(values: Any) -> Iterator[dict[str, Any]]:
    """Each section of a recipe that names a source."""
    if isinstance(values, Mapping):
        if "source" in values:
            yield dict(values)
        for value in values.values():
            yield from sources_of(value)


def read_case(case: Case, folder: Path, *, seconds: float) -> tuple[Recipe, dict[str, Path]]:
    """A case's recipe, and where its sources are to stand.

    Args:
        case: the case.
        folder: for the sources, in the place of the recipe's own.
        seconds: of the clip, which say how much a transcriber may say of it.

    Returns:
        The recipe, and each source's folder by its last part.
    """
    values = yaml.safe_load(case.recipe.read_text(encoding="utf-8"))
    places: dict[str, Path] = {}

    def place(section: Any) -> Any:
        if not isinstance(section, Mapping):
            return section
        placed = {key: place(value) for key, value in section.items()}
        if "source" in placed:
            name = Path(placed["source"]).name
            name = case.instead.get(name, name)
            places[name] = folder / name
            placed |= {"source": str(places[name]), "revision": None}
        return placed

    values = place(values)
    transcriber = values["model"].get("transcriber")
    if transcriber is not None:
        transcriber["max_new_tokens"] = max(1, round(TOKENS_PER_SECOND * seconds))
    return Recipe.read(values, source=str(case.recipe)), places


def write_checkpoint(recipe: Recipe, folder: Path) -> None:
    """The checkpoint of a recipe; what training would have taught it is random."""
    if recipe.model.zero_shot is not None:
        assemble(recipe, folder, command="python -m benchmarks.pretrained")
        return
    config = resolve_pretrained(recipe.model)
    model = build_model(config)
    load_pretrained(model, config)
    tokenizer = None
    if config.text is not None and config.text.pretrained is not None:
        tokenizer = load_source_tokenizer(config.text.pretrained, config.text.max_tokens)
    elif config.text is not None:
        tokenizer = train_tokenizer(["words that nobody has said"], config.text.vocab_size)
    copy_side_models(config, folder)
    description = CheckpointDescription(name=recipe.name, version=recipe.version, config=config)
    save_checkpoint(folder, description, model, tokenizer)


def write_clip(folder: Path, *, seconds: float, size: tuple[int, int]) -> tuple[Path, Path]:
    """Render a clip.

    Args:
        folder: for its files.
        seconds: its length.
        size: width and height in pixels.

    Returns:
        The container with picture and sound, and its words as WebVTT.
    """
    script = draw_script(CLIP_SEED, Deal(ACTIVITIES[:2], (seconds / 2, seconds / 2)), container="mp4")
    script = replace(script, width=size[0], height=size[1])
    clip, words = folder / "clip.mp4", folder / "clip.vtt"
    clip.write_bytes(encode_clip(script, draw_frames(script), render_waveform(script)))
    words.write_text(write_words(script), encoding="utf-8")
    return clip, words


def count_weights(folder: Path) -> int:
    """The numbers in all safetensors of a checkpoint."""
    total = 0
    for path in folder.rglob("*.safetensors"):
        with safe_open(path, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - it is no mapping
                total += torch.Size(tensors.get_slice(name).get_shape()).numel()
    return total


def run_case(
    case: Case, make: Mapping[str, Make], folder: Path, ask: Callable[[Path], Measured], seconds: float
) -> Row:
    """Make a case's sources and its checkpoint, and measure it.

    Args:
        case: the case.
        make: for each source what writes it.
        folder: for sources and checkpoint; a source that is there already is kept.
        ask: measures a checkpoint.
        seconds: of the clip.
    """
    recipe, places = read_case(case, folder, seconds=seconds)
    for name, place in places.items():
        if not place.exists():
            make[name](place)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        checkpoint = Path(scratch)
        write_checkpoint(recipe, checkpoint)
        size = sum(path.stat().st_size for path in checkpoint.rglob("*") if path.is_file())
        return Row(case.name, count_weights(checkpoint), size / 1e6, ask(checkpoint))


def ask_in_processes(checkpoint: Path, clip: Path, words: Path, *, rounds: int) -> Measured:
    """Measure a checkpoint, each device in a process of its own; the memory is that on the CPU.

    Raises:
        subprocess.CalledProcessError: one failed; what it said stands on stderr.
    """
    ways: list[tuple[str, ...]] = [()]
    if torch.cuda.is_available():
        ways += [("--device", "cuda"), ("--device", "cuda", "--compiled")]
    found = []
    for way in ways:
        command = [sys.executable, "-m", "benchmarks.pretrained_stages", str(checkpoint), "--clip", str(clip)]
        command += ["--words", str(words), "--rounds", str(rounds), *way]
        answer = subprocess.run(command, stdout=subprocess.PIPE, check=True)  # noqa: S603 - this very program
        found.append(Measured(**json.loads(answer.stdout)))
    on_gpu = [it.gpu_megabytes for it in found if it.gpu_megabytes is not None]
    stages = {where: seconds for it in found for where, seconds in it.stages.items()}
    return replace(found[0], stages=stages, gpu_megabytes=on_gpu[0] if on_gpu else None)


def show(rows: Sequence[Row], console: Console) -> None:
    """Print what each case needs, then where its time goes."""
    memory = Table(title="memory; an empty worker is not counted")
    memory.add_column("recipe", no_wrap=True)
    for heading in ("M par.", "checkpoint MB", "peak MB", "steady MB", "load s", "GPU MB"):
        memory.add_column(heading, justify="right")
    for row in rows:
        it = row.measured
        sizes = (row.megabytes, it.peak_megabytes, it.steady_megabytes)
        gpu = "" if it.gpu_megabytes is None else f"{it.gpu_megabytes:,.0f}"
        memory.add_row(
            row.name,
            f"{row.num_parameters / 1e6:.1f}",
            *(f"{size:,.0f}" for size in sizes),
            f"{it.load_seconds:.1f}",
            gpu,
        )
    console.print(memory)
    stages = list(dict.fromkeys(name for row in rows for it in row.measured.stages.values() for name in it))
    ordered = [name for name in stages if name not in NOW_AND_THEN] + [name for name in NOW_AND_THEN if name in stages]
    time = Table(title="seconds a request; in brackets what not every one has")
    time.add_column("recipe", no_wrap=True)
    time.add_column("on", no_wrap=True)
    for heading in (*(f"({name})" if name in NOW_AND_THEN else name for name in ordered), "real time", "windows/s"):
        time.add_column(heading, justify="right")
    for row in rows:
        for where, seconds in row.measured.stages.items():
            factor = row.measured.real_time_factor(where)
            each = (f"{seconds[name]:.2f}" if name in seconds else "" for name in ordered)
            windows = row.measured.num_windows / (factor * row.measured.clip_seconds)
            time.add_row(row.name, where, *each, f"{factor:.2f}", f"{windows:.1f}")
    console.print(time)


def main() -> None:
    """Make, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="of the cases; by default all")
    parser.add_argument("--seconds", type=float, default=10.0, help="of the clip")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=None, help="also save the figures as JSON here")
    arguments = parser.parse_args()
    cases = find_cases()
    unknown = set(arguments.only or ()) - {case.name for case in cases}
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(case.name for case in cases)}")
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        clip, words = write_clip(folder, seconds=arguments.seconds, size=(1280, 720))
        for case in cases:
            if arguments.only is None or case.name in arguments.only:
                rows.append(
                    run_case(
                        case,
                        {name: published.make for name, published in PUBLISHED.items()},
                        folder,
                        lambda checkpoint: ask_in_processes(checkpoint, clip, words, rounds=arguments.rounds),
                        seconds=arguments.seconds,
                    )
                )
                say(f"{case.name}: done; load of this machine {os.getloadavg()[0]:.1f}")
    if arguments.output is not None:
        arguments.output.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n", encoding="utf-8")
    first = rows[0].measured
    console = Console(width=None if sys.stdout.isatty() else 220)
    console.print(
        f"{first.clip_seconds:g} s of 1280 x 720, {first.dtype}; empty worker {first.empty_megabytes:,.0f} MB"
    )
    show(rows, console)


if __name__ == "__main__":
    main()
