"""What a model consists of and what a window costs: parameters, bytes, floating-point operations (FLOPs)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from models.config import Modality
from models.model import ActivityModel
from models.spans import place_tokens
from models.transformer import Attention, FeedForward

ENCODERS = "encoders."
TOWERS = "towers."
"""What the names of the parts begin with that embed labels."""


@dataclass(frozen=True)
class PartCost:
    """One part of a model."""

    name: str
    """``encoders.NAME``, ``fusion``, ``head``, or ``towers.NAME`` of a space of labels."""
    num_parameters: int
    num_biases: int
    """Of the parameters, the biases of linear, convolution and attention layers, which published counts leave out."""
    state_bytes: int
    """Of its tensors in the checkpoint."""
    flops: int
    """Of an encoder for one hop, of fusion and head for one window, of a tower for one label, which is embedded once;
    a multiplication and an addition count two."""
    sees_window: bool = False
    """Whether it is an encoder that sees a whole window: its FLOPs are then for one of these."""


@dataclass(frozen=True)
class ModelCost:
    """All parts of a model."""

    parts: tuple[PartCost, ...]
    window_hops: int
    stream_bytes: int
    """What a stream keeps between two hops: the float32 tokens of a window's other hops. Of an encoder that sees whole
    windows it keeps the raw hops instead, which are not counted."""
    transformer_flops: int
    """Counted in attention and feed-forward layers, for one hop of each encoder and one window."""
    formula_flops: int
    """The same by :func:`attention_flops` and :func:`feed_forward_flops`."""

    @property
    def num_parameters(self) -> int:
        """Of the whole model."""
        return sum(part.num_parameters for part in self.parts)

    @property
    def num_biases(self) -> int:
        """Of the whole model."""
        return sum(part.num_biases for part in self.parts)

    @property
    def state_bytes(self) -> int:
        """Of the whole model."""
        return sum(part.state_bytes for part in self.parts)

    @property
    def first_window_flops(self) -> int:
        """A window that stands alone: each of its hops encoded, then fused and classified."""
        return sum(part.flops * (self.window_hops if _is_of_hops(part) else 1) for part in self._of_windows)

    @property
    def next_window_flops(self) -> int:
        """Each window after it, which shares all hops but one."""
        return sum(part.flops for part in self._of_windows)

    @property
    def _of_windows(self) -> list[PartCost]:
        return [part for part in self.parts if not part.name.startswith(TOWERS)]


def _is_of_hops(part: PartCost) -> bool:
    return part.name.startswith(ENCODERS) and not part.sees_window


def attention_flops(num_queries: int, num_keys: int, width: int) -> int:
    """FLOPs of one attention: projections of queries, keys, values and output, then ``4 m n d`` for the products.

    With m = n this and :func:`feed_forward_flops` are the ``24 n d^2 + 4 n^2 d`` of a transformer layer
    (Kaplan et al. 2020, arXiv 2001.08361, table 1).
    """
    return 4 * num_queries * width**2 + 4 * num_keys * width**2 + 4 * num_queries * num_keys * width


def feed_forward_flops(num_tokens: int, width: int) -> int:
    """FLOPs of one feed-forward with a hidden width of four times ``width``: ``16 n d^2``."""
    return 16 * num_tokens * width**2


def count_biases(module: nn.Module) -> int:
    """Parameters that are biases of linear and convolution layers and of torch's own attention."""
    total = 0
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d) and layer.bias is not None:
            total += layer.bias.numel()
        elif isinstance(layer, nn.MultiheadAttention) and layer.in_proj_bias is not None:
            total += layer.in_proj_bias.numel()
    return total


def measure_cost(
    model: ActivityModel,
    hop_inputs: Mapping[Modality, tuple[Tensor, ...]],
    *,
    window_hops: int,
    label_inputs: Mapping[str, tuple[Tensor, Tensor]] | None = None,
    window_spanned: Collection[Modality] = (),
) -> ModelCost:
    """Count a model's parts by running one hop of each modality and one window.

    Args:
        model: the model; left as it is.
        hop_inputs: for each of its modalities what its encoder takes for one hop, or for a whole window where it sees
            one: tensors whose first axis is 1.
        window_hops: hops in a window.
        label_inputs: for each space of labels the ids and the mask of one label, each ``(1, S)``.
        window_spanned: the modalities whose encoder sees a whole window.
    """
    was_training = model.training
    model.eval()
    flops: dict[str, int] = {}
    tokens: dict[Modality, Tensor] = {}
    counter = FlopCounterMode(display=False)
    # Only the plain form of attention is made of products that the counter knows on every device.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), _hear_layers(model, counter) as heard, counter:
        for name, inputs in hop_inputs.items():
            before = counter.get_total_flops()
            tokens[name] = model.encode(name, *inputs)
            flops[ENCODERS + name] = counter.get_total_flops() - before
        before = counter.get_total_flops()
        windows = {
            name: place_tokens(hop, window_hops)
            if name in window_spanned
            else hop[None].expand(1, window_hops, *hop.shape[1:])
            for name, hop in tokens.items()
        }
        fused = model.fusion(windows, {name: torch.ones(1, window_hops, dtype=torch.bool) for name in tokens}).fused
        flops["fusion"] = counter.get_total_flops() - before
        before = counter.get_total_flops()
        model.head(fused)
        flops["head"] = counter.get_total_flops() - before
        for space, (token_ids, token_mask) in (label_inputs or {}).items():
            before = counter.get_total_flops()
            model.towers[space](token_ids, token_mask)
            flops[TOWERS + space] = counter.get_total_flops() - before
    model.train(was_training)
    parts = [(ENCODERS + name, model.encoders[name]) for name in hop_inputs]
    parts += [("fusion", model.fusion), ("head", model.head)]
    parts += [(TOWERS + space, model.towers[space]) for space in label_inputs or {}]
    return ModelCost(
        parts=tuple(
            _part(name, module, flops[name], sees_window=name.removeprefix(ENCODERS) in window_spanned)
            for name, module in parts
        ),
        window_hops=window_hops,
        stream_bytes=sum(4 * hop.numel() for name, hop in tokens.items() if name not in window_spanned)
        * (window_hops - 1),
        transformer_flops=heard.counted,
        formula_flops=heard.formula,
    )


def _part(name: str, module: nn.Module, flops: int, *, sees_window: bool) -> PartCost:
    return PartCost(
        name=name,
        sees_window=sees_window,
        num_parameters=sum(parameter.numel() for parameter in module.parameters()),
        num_biases=count_biases(module),
        state_bytes=sum(tensor.numel() * tensor.element_size() for tensor in module.state_dict().values()),
        flops=flops,
    )


@dataclass
class _LayerFlops:
    """FLOPs of the attention and feed-forward layers that ran."""

    counted: int = 0
    formula: int = 0


@contextmanager
def _hear_layers(model: nn.Module, counter: FlopCounterMode) -> Iterator[_LayerFlops]:
    """Add up what each attention and each feed-forward costs while the context lasts; none contains another."""
    heard = _LayerFlops()

    def before(module: nn.Module, arguments: tuple[Any, ...]) -> None:
        heard.counted -= counter.get_total_flops()
        batch, length, width = arguments[0].shape
        if isinstance(module, Attention):
            heard.formula += batch * attention_flops(length, arguments[1].shape[1], width)
        else:
            heard.formula += batch * feed_forward_flops(length, width)

    def after(module: nn.Module, arguments: tuple[Any, ...], output: Tensor) -> None:
        del module, arguments, output
        heard.counted += counter.get_total_flops()

    layers = [layer for layer in model.modules() if isinstance(layer, Attention | FeedForward)]
    handles = [layer.register_forward_pre_hook(before) for layer in layers]
    handles += [layer.register_forward_hook(after) for layer in layers]
    try:
        yield heard
    finally:
        for handle in handles:
            handle.remove()
