"""The training step as a Lightning module."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from lightning import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from transformers import get_cosine_schedule_with_warmup

from handler.transform import Transforms
from models.config import ModelConfig
from models.model import ActivityModel
from training.classification import counted_windows, masked_mean, right_windows, window_losses
from training.dataset import RunBatch
from training.encoding import cut_masks, cut_windows, encode_runs
from training.masks import drop_modalities
from training.recipe import TrainingConfig


class Learner(LightningModule):
    """Trains an :class:`ActivityModel` on runs of hops.

    Args:
        model: the model to train.
        transforms: the server's own transforms.
        training: the recipe's settings.
        steps: optimizer steps in the whole training, which the learning rate's schedule spans.
    """

    def __init__(self, model: ActivityModel, transforms: Transforms, training: TrainingConfig, *, steps: int) -> None:
        super().__init__()
        self.model = model
        self.transforms = transforms
        self.training_config = training
        self.steps = steps

    @property
    def config(self) -> ModelConfig:
        """The model's configuration."""
        return self.transforms.config

    def on_fit_start(self) -> None:
        """Bring the transforms to the model's device; they are no part of the module."""
        self.transforms.to(self.device)

    def forward(self, batch: RunBatch, masks: Sequence[Tensor]) -> list[Tensor]:
        """Logits of each window of each run under several masks; the hops are encoded once.

        Args:
            batch: C runs of R hops.
            masks: each ``(C, M, R)`` bool.

        Returns:
            For each mask ``(C, W, K)`` float.
        """
        num_runs, num_windows = batch.targets.shape[:2]
        hops = self.config.windows.hops
        encoded = encode_runs(self.model, self.transforms, batch)
        tokens = {name: cut_windows(runs, num_windows, hops) for name, runs in encoded.items()}
        results = []
        for mask in masks:
            window_masks = cut_masks(mask, self.config.modalities, num_windows, hops)
            results.append(self.model(tokens, window_masks).logits.view(num_runs, num_windows, -1))
        return results

    def training_step(self, batch: RunBatch, batch_index: int) -> Tensor:
        """The loss of one batch: with modality dropout, and with one modality of each run, drawn at random, alone.

        Without the second part the modalities that learn fast (sound, words) leave the slow one (motion) at chance for
        long: the imbalance that Peng et al. describe (OGM-GE, arXiv 2203.15332).
        """
        del batch_index
        dropped = drop_modalities(batch.masks, self.training_config.modality_dropout)
        logits, alone = self(batch, [dropped, drop_modalities(batch.masks, 1.0)])
        loss = self._loss(logits, batch)
        loss = loss + self.training_config.unimodal_weight * self._loss(alone, batch)
        self.log("loss", loss, prog_bar=True, on_step=True, on_epoch=False)
        return loss

    def validation_step(self, batch: RunBatch, batch_index: int) -> None:
        """Loss and accuracy with all modalities, each window of the same weight."""
        del batch_index
        (logits,) = self(batch, [batch.masks])
        num_counted = int(self._counted(batch).sum())
        if num_counted:
            self.log("val_loss", self._loss(logits, batch), prog_bar=True, batch_size=num_counted)
            self.log("val_accuracy", self._accuracy(logits, batch), prog_bar=True, batch_size=num_counted)

    def _counted(self, batch: RunBatch) -> Tensor:
        return counted_windows(batch.targets, batch.inside, self.config.head.task)

    def _loss(self, logits: Tensor, batch: RunBatch) -> Tensor:
        """Mean over the windows that count, and 0 where none does."""
        losses = window_losses(logits, batch.targets, self.config.head.task, self.training_config.label_smoothing)
        return masked_mean(losses, self._counted(batch))

    def _accuracy(self, logits: Tensor, batch: RunBatch) -> Tensor:
        """Share of right windows, or with ``multi_label`` of right decisions at a score of 0.5."""
        return masked_mean(right_windows(logits, batch.targets, self.config.head.task), self._counted(batch))

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW (arXiv 1711.05101) with warm-up and cosine decay."""
        decayed = [parameter for parameter in self.model.parameters() if parameter.ndim > 1]
        plain = [parameter for parameter in self.model.parameters() if parameter.ndim <= 1]
        optimizer = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": self.training_config.weight_decay},
                {"params": plain, "weight_decay": 0.0},
            ],
            lr=self.training_config.learning_rate,
        )
        schedule = get_cosine_schedule_with_warmup(
            optimizer, round(self.steps * self.training_config.warmup_fraction), self.steps
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
