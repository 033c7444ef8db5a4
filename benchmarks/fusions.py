"""What does each fusion reach, and what does it cost, on the same encoders and the same clips?

    python -m benchmarks.fusions --data runs/data/manifest.jsonl --held-out runs/held-out/manifest.jsonl

Trains each recipe config/recipes/fusion-*.yaml on the demo's encoders, which stay as they are (a checkpoint that is
there already is kept), measures it on the held-out clips with every subset of the modalities, and then takes the
fusions in turns for the time of a window: fusion and head in batches of 16, one thread, median of the rounds. Each
dataset is decoded once.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.block_sparse import interleaved
from cli.progress import bars, say
from handler.inference import WINDOWS_PER_BATCH
from handler.pipeline import ActivityPipeline
from handler.runtime import choose_runtime
from models.config import Modality, ModelConfig
from models.model import ActivityModel
from training.dataset import LabelledClip, decode_entries
from training.evaluate import evaluate_clips
from training.manifest import ManifestEntry, read_manifest
from training.recipe import Recipe
from training.train import Initial, Watch, train

RECIPES = Path("config/recipes")
ENCODERS = Path("model-store/demo")
ROUNDS = 31


@dataclass(frozen=True)
class FusionRow:
    """What one fusion reaches and costs."""

    fusion: str
    num_parameters: int
    milliseconds: float
    """A window of fusion and head."""
    accuracy: dict[str, float]
    """Of windows inside one activity, in [0, 1], by the modalities that are sent."""


class RememberedDecode:
    """Decodes each clip once, for recipes that differ in nothing that it depends on."""

    def __init__(self) -> None:
        self.known: dict[str, LabelledClip] = {}

    def __call__(
        self,
        entries: Sequence[ManifestEntry],
        config: ModelConfig,
        *,
        jobs: int,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[LabelledClip]:
        """Decode what is not known yet."""
        missing = [entry for entry in entries if entry.name not in self.known]
        for entry, clip in zip(missing, decode_entries(missing, config, jobs=jobs, progress=progress), strict=True):
            self.known[entry.name] = clip
        return [self.known[entry.name] for entry in entries]


def time_windows(models: dict[str, ActivityModel], config: ModelConfig) -> dict[str, float]:
    """Milliseconds a window of fusion and head."""
    shapes: dict[Modality, int] = {"video": 2, "audio": 2, "text": 1}  # tokens a hop
    size, hops = WINDOWS_PER_BATCH, config.windows.hops
    tokens: dict[Modality, Tensor] = {
        name: torch.randn(size, hops, count, config.width) for name, count in shapes.items()
    }
    masks: dict[Modality, Tensor] = {name: torch.ones(size, hops, dtype=torch.bool) for name in tokens}
    torch.set_num_threads(1)
    with torch.inference_mode():
        taken = interleaved({name: partial(model, tokens, masks) for name, model in models.items()}, ROUNDS)
    return {name: milliseconds / size for name, milliseconds in taken.items()}


def main() -> None:
    """Train, measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--held-out", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--output", type=Path, default=None, help="also save the figures as JSON here")
    arguments = parser.parse_args()
    recipes = sorted(RECIPES.glob("fusion-*.yaml"))
    decode = RememberedDecode()
    for path in recipes:
        if not (arguments.runs / path.stem / "model.json").exists():
            train_fusion(path, arguments.data, arguments.runs / path.stem, decode)
    rows = measure(recipes, arguments.runs, arguments.held_out)
    if arguments.output is not None:
        arguments.output.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n", encoding="utf-8")
    show(rows)


def train_fusion(path: Path, manifest: Path, output: Path, decode: RememberedDecode) -> None:
    """Train one recipe."""
    with bars() as report:
        result = train(
            Recipe.read_yaml(path),
            manifest,
            output,
            command=f"activity train {path} --data {manifest} --init {ENCODERS} --output {output}",
            initial=Initial(ENCODERS, encoders_only=True),
            watch=Watch(decoded=lambda done, total: report("Decoding", done, total)),
            decode=decode,
        )
    say(f"{path.stem}: {result.val_accuracy:.1%} on the validation split after {result.fit_seconds:.0f} s")


def measure(recipes: Sequence[Path], runs: Path, held_out: Path) -> list[FusionRow]:
    """Accuracy by subset, parameters and time, a row a fusion."""
    pipelines = {path.stem: ActivityPipeline.from_checkpoint(runs / path.stem) for path in recipes}
    config = next(iter(pipelines.values())).config
    milliseconds = time_windows({name: it.scorer.model for name, it in pipelines.items()}, config)
    torch.set_num_threads(choose_runtime().threads)
    rows: list[FusionRow] = []
    with bars() as report:
        entries, jobs = read_manifest(held_out), choose_runtime().threads
        clips = decode_entries(entries, config, jobs=jobs, progress=lambda done, total: report("Decoding", done, total))
        for number, (name, pipeline) in enumerate(pipelines.items(), start=1):
            result = evaluate_clips(pipeline, clips)
            shares = {" + ".join(it.modalities): it.accuracy.value for it in result.subsets if it.accuracy is not None}
            num_parameters = sum(parameter.numel() for parameter in pipeline.scorer.model.fusion.parameters())
            rows.append(FusionRow(name.removeprefix("fusion-"), num_parameters, milliseconds[name], shares))
            report("Measuring", number, len(pipelines))
    return rows


def show(rows: Sequence[FusionRow]) -> None:
    """Print a row a fusion."""
    table = Table(title="window accuracy in % by what is sent: V picture, A sound, T words", padding=(0, 0))
    subsets = ["".join(part[0].upper() for part in name.split(" + ")) for name in rows[0].accuracy]
    table.add_column("fusion", no_wrap=True)
    for heading in ("k par.", "ms", *subsets):
        table.add_column(heading, justify="right")
    for row in rows:
        shares = [f"{100 * share:.1f}" for share in row.accuracy.values()]
        table.add_row(row.fusion, f"{row.num_parameters / 1000:,.0f}", f"{row.milliseconds:.2f}", *shares)
    Console().print(table)


if __name__ == "__main__":
    main()
