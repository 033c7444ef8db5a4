"""The exponential moving average of the weights (Polyak and Juditsky 1992), which validation and checkpoint use."""

from __future__ import annotations

from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor


class WeightAverage(Callback):
    """After each optimizer step ``average = d * average + (1 - d) * weights``, buffers included.

    ``d`` is the smaller of ``decay`` and ``(1 + steps) / (10 + steps)``, so that the random start is soon forgotten.
    What is no float (a counter) is taken as it is. The average is part of the training's state.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.average: dict[str, Tensor] = {}
        self._weights: dict[str, Tensor] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin with the weights as they are, or go on where the state ends."""
        del trainer
        own = _copy(pl_module)
        self.average = {name: self.average[name].to(tensor) if self.average else tensor for name, tensor in own.items()}

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Follow the weights, once for each optimizer step."""
        if trainer.global_step == self.steps:
            return  # gradients are still being accumulated
        self.steps = trainer.global_step
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for name, tensor in pl_module.state_dict().items():
            if tensor.is_floating_point():
                self.average[name].lerp_(tensor.detach(), 1.0 - decay)
            else:
                self.average[name].copy_(tensor)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validate the average."""
        del trainer
        self._weights = _copy(pl_module)
        pl_module.load_state_dict(self.average)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Train the weights on."""
        del trainer
        pl_module.load_state_dict(self._weights)
        self._weights = {}

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training goes on with."""
        return {"steps": self.steps, "average": self.average}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with it."""
        self.steps, self.average = state_dict["steps"], state_dict["average"]


def _copy(module: LightningModule) -> dict[str, Tensor]:
    return {
        name: tensor.detach().clone(memory_format=torch.contiguous_format)
        for name, tensor in module.state_dict().items()
    }
