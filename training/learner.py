"""The training step as a Lightning module."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from lightning import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.nn import functional
from transformers import get_cosine_schedule_with_warmup

from handler.transform import Transforms
from models.config import Modality, ModelConfig
from models.model import ActivityModel, gather_windows
from training.dataset import NO_LABEL, RunBatch
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

    def forward(self, batch: RunBatch, masks: Sequence[Tensor]) -> list[Tensor]:
        """Logits of each window of each run under several masks; the hops are encoded once.

        Args:
            batch: C runs of R hops.
            masks: each ``(C, M, R)`` bool.

        Returns:
            For each mask ``(C, W, K)`` float.
        """
        num_runs, num_hops = batch.masks.shape[0], batch.masks.shape[2]
        starts = torch.arange(batch.targets.shape[1], device=self.device)
        hops = self.config.windows.hops
        tokens: dict[Modality, Tensor] = {}
        for name in self.config.modalities:
            encoded = self._encode(name, batch)
            tokens[name] = _windows(encoded.view(num_runs, num_hops, *encoded.shape[1:]), starts, hops)
        results = []
        for mask in masks:
            window_masks = {
                name: _windows(mask[:, index], starts, hops) for index, name in enumerate(self.config.modalities)
            }
            results.append(self.model(tokens, window_masks).logits.view(num_runs, len(starts), -1))
        return results

    def _encode(self, name: Modality, batch: RunBatch) -> Tensor:
        """Encode all hops of all runs: ``(C * R, S, D)``."""
        if name == "video":
            return self.model.encode(name, self.transforms.video(batch.frames.flatten(0, 1)))
        if name == "audio":
            with torch.autocast(self.device.type, enabled=False):
                log_mel = self.transforms.audio(batch.samples.flatten(0, 1))
            return self.model.encode(name, log_mel)
        return self.model.encode(name, batch.token_ids.flatten(0, 1), batch.token_mask.flatten(0, 1))

    def training_step(self, batch: RunBatch, batch_index: int) -> Tensor:
        """The loss of one batch: with modality dropout, and with each modality alone.

        Without the second part the modalities that learn fast (sound, words) leave the slow one (motion) at chance for
        long: the imbalance that Peng et al. describe (OGM-GE, arXiv 2203.15332).
        """
        del batch_index
        dropped = drop_modalities(batch.masks, self.training_config.modality_dropout)
        logits, *alone = self(batch, [dropped, *each_alone(batch.masks)])
        loss = self._loss(logits, batch.targets)
        if alone:
            unimodal = torch.stack([self._loss(part, batch.targets) for part in alone]).mean()
            loss = loss + self.training_config.unimodal_weight * unimodal
        self.log("loss", loss, prog_bar=True, on_step=True, on_epoch=False)
        return loss

    def validation_step(self, batch: RunBatch, batch_index: int) -> None:
        """Loss and window accuracy with all modalities."""
        del batch_index
        (logits,) = self(batch, [batch.masks])
        labelled = batch.targets.any(dim=-1)
        hits = (logits.argmax(dim=-1) == batch.targets.argmax(dim=-1))[labelled]
        self.log("val_loss", self._loss(logits, batch.targets), prog_bar=True, batch_size=len(batch.masks))
        self.log("val_accuracy", hits.float().mean(), prog_bar=True, batch_size=len(batch.masks))

    def _loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        if self.config.head.task == "multi_label":
            return functional.binary_cross_entropy_with_logits(logits.float(), targets)
        classes = torch.where(targets.any(dim=-1), targets.argmax(dim=-1), NO_LABEL)
        return functional.cross_entropy(
            logits.float().flatten(0, 1),
            classes.flatten(),
            ignore_index=NO_LABEL,
            label_smoothing=self.training_config.label_smoothing,
        )

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


def drop_modalities(masks: Tensor, probability: float) -> Tensor:
    """Modality dropout: each modality of each run is masked with ``probability``, but never all of them.

    Args:
        masks: ``(C, M, R)`` bool.
        probability: in [0, 1].

    Returns:
        ``(C, M, R)`` bool. Where the draw would leave nothing, one of the modalities that were there is kept, each
        with the same chance.
    """
    present = masks.any(dim=2)
    draws = torch.rand(masks.shape[:2], device=masks.device)
    kept = present & (draws >= probability)
    keep_one = (draws * present).argmax(dim=1)
    fallback = functional.one_hot(keep_one, masks.shape[1]).bool() & present
    kept = torch.where(kept.any(dim=1, keepdim=True), kept, fallback)
    return masks & kept[..., None]


def each_alone(masks: Tensor) -> list[Tensor]:
    """For each of several modalities the masks ``(C, M, R)`` that keep it alone; nothing for a lone modality."""
    num_modalities = masks.shape[1]
    if num_modalities == 1:
        return []
    keep = torch.eye(num_modalities, dtype=torch.bool, device=masks.device)
    return [masks & keep[index][None, :, None] for index in range(num_modalities)]


def _windows(hops: Tensor, starts: Tensor, window_hops: int) -> Tensor:
    """``(C, R, ...)`` to ``(C * W, window_hops, ...)``."""
    gathered = gather_windows(hops.transpose(0, 1), starts, window_hops)  # (W, window_hops, C, ...)
    return gathered.movedim(2, 0).flatten(0, 1)
