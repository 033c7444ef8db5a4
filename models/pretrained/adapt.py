"""How much of a pretrained backbone learns: nothing, its last blocks, low-rank adapters, or all of it.

Adapters (LoRA, arXiv 2106.09685) are put in when a training begins and merged into the weights before its result is
measured and saved: a checkpoint has the source's own tensors, and nothing but a training imports peft.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from models.pretrained.config import LoraConfig
from models.pretrained.encoder import ADAPTER, PretrainedEncoder
from models.settings import SettingsError

QUERIES_AND_VALUES = ("q_proj", "v_proj", "query", "value", "qkv")
"""What the architectures that are known call the layers to which LoRA's authors add an adapter."""


def inject_adapters(model: nn.Module) -> None:
    """Put adapters into each encoder that is to be trained so; they begin as no change at all.

    Raises:
        SettingsError: an encoder has none of the layers that are to have one.
    """
    for encoder in _adapted(model):
        _inject(encoder, encoder.config.lora)
        encoder.requires_grad_(True)


def merge_adapters(model: nn.Module) -> None:
    """Add what the adapters have learned to the weights, and leave the architecture as it was."""
    from peft.tuners.lora import LoraLayer  # noqa: PLC0415 - only such a training needs it

    for encoder in _adapted(model):
        for name, layer in list(encoder.backbone.named_modules()):
            if isinstance(layer, LoraLayer):
                layer.merge()
                owner, _, attribute = name.rpartition(".")
                setattr(encoder.backbone.get_submodule(owner), attribute, layer.get_base_layer())
        encoder.requires_grad_(True)


def _adapted(model: nn.Module) -> Iterator[PretrainedEncoder]:
    for module in model.modules():
        if isinstance(module, PretrainedEncoder) and module.config.tune == "lora":
            yield module


def _inject(encoder: PretrainedEncoder, config: LoraConfig) -> None:
    from peft import LoraConfig as PeftConfig  # noqa: PLC0415 - as above
    from peft import inject_adapter_in_model  # noqa: PLC0415

    linear = {name.rpartition(".")[2] for name, it in encoder.backbone.named_modules() if isinstance(it, nn.Linear)}
    linear -= set(encoder.not_called)
    wanted = set(QUERIES_AND_VALUES) & linear if config.targets is None else set(config.targets)
    missing = wanted - linear
    if missing or not wanted:
        raise SettingsError(
            f"{encoder.config.source} has no linear layer called {', '.join(sorted(missing or QUERIES_AND_VALUES))}: "
            f"lora.targets can name {', '.join(sorted(linear)) or 'none'}"
        )
    alpha: Any = config.alpha  # annotated as a whole number, and only divided by the rank
    settings = PeftConfig(r=config.rank, lora_alpha=alpha, lora_dropout=config.dropout, target_modules=sorted(wanted))
    inject_adapter_in_model(settings, encoder.backbone, adapter_name=ADAPTER)
