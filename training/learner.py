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
from models.tokenizer import PADDING_ID
from training.dataset import RunBatch
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
        return self._encode_texts(batch.token_ids.flatten(0, 1), batch.token_mask.flatten(0, 1))

    def _encode_texts(self, token_ids: Tensor, token_mask: Tensor) -> Tensor:
        """Encode each different text once, cut to the longest: neighbouring hops share their words."""
        length = int(token_mask.sum(dim=1).max())
        distinct, places = torch.unique(token_ids[:, :length], dim=0, return_inverse=True)
        return self.model.encode("text", distinct, distinct != PADDING_ID)[places]

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
        """Which windows count: ``(C, W)`` bool.

        With ``multi_label`` each window of the clip, since no label is a truth too; with ``single_label`` those that
        have one.
        """
        return batch.inside if self.config.head.task == "multi_label" else batch.targets.any(dim=-1)

    def _loss(self, logits: Tensor, batch: RunBatch) -> Tensor:
        """Mean over the windows that count, and 0 where none does."""
        if self.config.head.task == "multi_label":
            losses = functional.binary_cross_entropy_with_logits(logits.float(), batch.targets, reduction="none")
            return _masked_mean(losses.mean(dim=-1), self._counted(batch))
        losses = functional.cross_entropy(
            logits.float().movedim(-1, 1),
            batch.targets.argmax(dim=-1),
            label_smoothing=self.training_config.label_smoothing,
            reduction="none",
        )
        return _masked_mean(losses, self._counted(batch))

    def _accuracy(self, logits: Tensor, batch: RunBatch) -> Tensor:
        """Share of right windows, or with ``multi_label`` of right decisions at a score of 0.5."""
        if self.config.head.task == "multi_label":
            right = ((logits > 0) == (batch.targets > 0)).float().mean(dim=-1)
        else:
            right = (logits.argmax(dim=-1) == batch.targets.argmax(dim=-1)).float()
        return _masked_mean(right, self._counted(batch))

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
    highest = functional.one_hot((draws * present).argmax(dim=1), masks.shape[1]).bool()
    kept = (draws >= probability) | highest  # whose draw is the last to be below it
    return masks & kept[..., None]


def _masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    return (values * mask).sum() / mask.sum().clamp(min=1)


def _windows(hops: Tensor, starts: Tensor, window_hops: int) -> Tensor:
    """``(C, R, ...)`` to ``(C * W, window_hops, ...)``."""
    gathered = gather_windows(hops.transpose(0, 1), starts, window_hops)  # (W, window_hops, C, ...)
    return gathered.movedim(2, 0).flatten(0, 1)
