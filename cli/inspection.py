"""``activity inspect``: what a recipe or a checkpoint consists of, and what a window of it costs."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from cli.errors import CommandError, user_errors
from cli.progress import step

if TYPE_CHECKING:
    from models.config import ModelConfig
    from models.inspection import ModelCost


LABEL_TOKENS = 8
"""Of the label whose cost stands for others: a few words with their beginning and end."""
UNITS = {"encoders": "a hop", "towers": "a label"}


def inspect_model(
    source: Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe, or a checkpoint's folder.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Also save the figures as JSON here.")] = None,
) -> None:
    """Show a model's parts: parameters, bytes, and the floating-point operations (FLOPs) of a window.

    The operations are counted while one hop of each modality and one window run; those of attention and feed-forward
    layers are set beside the formulas 24 n d^2 + 4 n^2 d a layer and 4 m n d for the products of a cross-attention.
    Windows overlap and share their hops, so every window after the first costs one new hop.

    [bold]Examples[/bold]

    $ activity inspect config/recipes/demo.yaml
    $ activity inspect model-store/demo
    """
    if not source.exists():
        raise CommandError(f"there is no {source}", remedy="Give a recipe's file or a checkpoint's folder.")
    with user_errors(), step("Building the model"):
        config = _read_config(source)
        cost = _measure(config)
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(to_json(cost), indent=2) + "\n", encoding="utf-8")
    show_cost(cost, config, Console())


def _read_config(source: Path) -> ModelConfig:
    from models.checkpoint import read_description  # noqa: PLC0415 - help must not wait for torch
    from models.pretrained.resolve import resolve_pretrained  # noqa: PLC0415
    from training.recipe import Recipe  # noqa: PLC0415

    return read_description(source).config if source.is_dir() else resolve_pretrained(Recipe.read_yaml(source).model)


def _measure(config: ModelConfig) -> ModelCost:
    import torch  # noqa: PLC0415 - as above

    from handler.clip import Clip  # noqa: PLC0415
    from handler.transform import Transforms  # noqa: PLC0415
    from handler.windows import Span, build_schedule  # noqa: PLC0415
    from models.inspection import measure_cost  # noqa: PLC0415
    from models.model import build_model  # noqa: PLC0415
    from models.pretrained.label_tower import label_tokens  # noqa: PLC0415
    from models.pretrained.resolve import label_towers_of  # noqa: PLC0415
    from models.spans import join_hops  # noqa: PLC0415
    from models.tokenizer import train_tokenizer  # noqa: PLC0415

    tokenizer = None if config.text is None else train_tokenizer([], config.text.vocab_size)
    transforms = Transforms(config, tokenizer)
    empty = Clip(schedule=build_schedule(Span(0.0, config.windows.window_seconds), config.windows), modalities={})

    def words(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.zeros(1, count, dtype=torch.int64), torch.ones(1, count, dtype=torch.bool)

    hop_inputs: dict[str, tuple[torch.Tensor, ...]] = {}
    for name in config.modalities:
        if name == "text" and config.text is not None and config.text.pretrained is not None:
            hop_inputs[name] = words(config.text.max_tokens)
        else:
            contents = transforms.gather(name, empty).tensors
            if name in config.window_spanned:
                contents = tuple(join_hops(it.expand(config.windows.hops, *it.shape[1:])[None]) for it in contents)
            hop_inputs[name] = transforms.prepare(name, *contents)
    labels = {space: words(label_tokens(tower, LABEL_TOKENS)) for space, tower in label_towers_of(config).items()}
    return measure_cost(
        build_model(config),
        hop_inputs,
        window_hops=config.windows.hops,
        label_inputs=labels,
        window_spanned=config.window_spanned,
    )


def to_json(cost: ModelCost) -> dict[str, object]:
    """Plain values, the sums among them."""
    sums = ("num_parameters", "num_biases", "state_bytes", "first_window_flops", "next_window_flops")
    return {**asdict(cost), **{name: getattr(cost, name) for name in sums}}


def show_cost(cost: ModelCost, config: ModelConfig, console: Console) -> None:
    """Print a row a part and what they come to."""
    windows = config.windows
    title = f"windows of {windows.window_seconds:g} s, {windows.hops} hops of {windows.stride_seconds:g} s"
    kind = f"{config.fusion.kind} fusion" if config.zero_shot is None else "late fusion of scores"
    chosen = config.zero_shot is not None and config.zero_shot.takes_labels
    labels = f"{len(config.labels)} labels" + (", or a request's own" if chosen else "")
    table = Table("part", title=f"{kind}, {labels}; {title}")
    for heading in ("parameters", "weights", "FLOPs", "for"):
        table.add_column(heading, justify="right")
    for part in cost.parts:
        unit = "a window" if part.sees_window else UNITS.get(part.name.partition(".")[0], "a window")
        table.add_row(part.name, f"{part.num_parameters:,}", _bytes(part.state_bytes), _flops(part.flops), unit)
    table.add_section()
    table.add_row(
        "model", f"{cost.num_parameters:,}", _bytes(cost.state_bytes), _flops(cost.first_window_flops), "a first window"
    )
    table.add_row("", "", "", _flops(cost.next_window_flops), "each next window")
    console.print(table)
    console.print(f"parameters without the biases of linear layers: {cost.num_parameters - cost.num_biases:,}")
    counted, formula = cost.transformer_flops, cost.formula_flops
    console.print(f"attention and feed-forward: {counted:,} FLOPs counted, {formula:,} by formula")
    console.print(f"a stream keeps {_bytes(cost.stream_bytes)} of tokens from hop to hop")


def _flops(count: int) -> str:
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= size:
            return f"{count / size:.2f} {unit}"
    return str(count)


def _bytes(count: int) -> str:
    return f"{count / 1e6:.2f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"
