"""A pretrained backbone and its projection to the model's width."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from models.pretrained.config import PretrainedConfig
from models.pretrained.weights import load_backbone
from models.settings import SettingsError

ADAPTER = "learned"
"""The name under which adapters stand in a backbone, while it is trained."""


class PretrainedEncoder(nn.Module):
    """One hop's content to tokens, by a backbone that others have trained.

    How much of the backbone learns is the configuration's ``tune``, whatever a curriculum says: it can only stop what
    would learn. A frozen backbone stays in evaluation mode and runs without gradients.

    Args:
        backbone: the architecture without heads.
        config: of the encoder.
        feature_width: F, of what the backbone gives.
        width: D, of the tokens; with ``output: embedding`` they keep the backbone's F.
        unused: the beginnings of the names of the source's tensors that are left out: its heads, its other towers.

    Raises:
        SettingsError: more last blocks are to learn than there are.
    """

    not_called: tuple[str, ...] = ()
    """The backbone's linear layers whose weights it reads without calling them: an adapter there would do nothing."""

    hops_per_batch: int = 2
    """Hops of one forward on a CPU: the fewest that are as quick, each, as more are."""

    def __init__(
        self,
        backbone: nn.Module,
        config: PretrainedConfig,
        *,
        feature_width: int,
        width: int,
        unused: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.config = config
        self.unused = unused
        is_embedding = config.output == "embedding"
        self.embedding_width = feature_width if is_embedding else width
        self.project: nn.Module = (
            nn.Identity()
            if is_embedding
            else nn.Sequential(nn.LayerNorm(feature_width), nn.Linear(feature_width, width))
        )
        self._check_blocks()
        self.requires_grad_(True)

    def extract(self, *inputs: Any, **named: Any) -> Tensor:
        """What the backbone gives for a batch of hops: ``(N, S, F)`` float."""
        raise NotImplementedError

    def features(self, *inputs: Tensor) -> Tensor:
        """:meth:`extract`, without gradients where the backbone is frozen: ``(N, S, F)`` float."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.is_frozen):
            return self.extract(*inputs)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Encode a batch of hops to ``(N, S, D)`` float."""
        tokens: Tensor = self.project(self.features(*inputs))
        return tokens

    @property
    def is_frozen(self) -> bool:
        """Whether the backbone never learns."""
        return self.config.tune == "frozen"

    @property
    def blocks(self) -> tuple[nn.Module, ...]:
        """The backbone's blocks, the last one last."""
        raise NotImplementedError

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Let learn what ``tune`` allows, or nothing."""
        super().requires_grad_(requires_grad)
        if self.config.tune != "all":
            self.backbone.requires_grad_(False)
            for parameter in self._tuned_parameters():
                parameter.requires_grad_(requires_grad)
        return self

    def train(self, mode: bool = True) -> Self:
        """Go over to training mode, but for what does not learn: it drops nothing out, and keeps its statistics."""
        super().train(mode)
        if self.config.tune != "all":
            self.backbone.eval()
            for module in self._tuned_modules():
                module.train(mode)
        return self

    def _check_blocks(self) -> None:
        num_blocks = len(self.blocks) if self.config.tune == "last" else self.config.last_blocks
        if self.config.last_blocks > num_blocks:
            raise SettingsError(
                f"last_blocks is {self.config.last_blocks}, {self.config.source} has {num_blocks} blocks: take tune all"
            )

    def _tuned_modules(self) -> list[nn.Module]:
        """The parts of a backbone that learn, where not all of it does."""
        if self.config.tune == "last":
            return list(self.blocks[-self.config.last_blocks :])
        return [module for name, module in self.backbone.named_modules() if name.endswith(f".{ADAPTER}")]

    def _tuned_parameters(self) -> list[nn.Parameter]:
        return [parameter for module in self._tuned_modules() for parameter in module.parameters()]

    def load(self, folder: Path) -> None:
        """Take the backbone's weights from a source's folder.

        Raises:
            SettingsError: the source has not the tensors that the backbone needs, or others than are left out.
        """
        load_backbone(self.backbone, folder, self.unused)


def architecture_of(config: PretrainedConfig) -> Mapping[str, Any]:
    """The source's ``config.json``.

    Raises:
        ValueError: the source has not been read.
    """
    if config.architecture is None:
        raise ValueError(f"the pretrained source {config.source} has not been read: call resolve_pretrained first")
    return config.architecture


def processor_of(config: PretrainedConfig) -> Mapping[str, Any]:
    """The source's preprocessing.

    Raises:
        ValueError: the source has not been read.
    """
    if config.processor is None:
        raise ValueError(f"the pretrained source {config.source} has not been read: call resolve_pretrained first")
    return config.processor
