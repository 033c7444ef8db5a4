"""The training step as a Lightning module."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from lightning import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor

from handler.transform import Transforms
from models.config import Modality, ModelConfig
from models.model import ActivityModel
from models.pretrained.encoder import PretrainedEncoder
from training.augment.augmenter import Augmenter
from training.augment.config import AugmentationConfig
from training.balance import balance_coefficients, balance_gradients, truth_scores
from training.classification import counted_windows, label_loss, right_windows
from training.dataset import RunBatch
from training.encoding import Cached, RunEncoder, cut_masks, cut_tokens
from training.losses import masked_mean
from training.masks import draw_masks, keep_single
from training.mixup import draw_mixing
from training.objectives.base import ObjectiveInput
from training.objectives.build import build_objectives, objective_losses
from training.recipe import Recipe, StageConfig, TrainingConfig
from training.tally import Tally

BALANCE_STREAM = 1  # beside the step's own, so that the noise of the gradients is that of no other draw


class Learner(LightningModule):
    """Trains an :class:`ActivityModel` on runs of hops.

    Args:
        model: the model to train.
        transforms: the server's own transforms.
        recipe: the settings.
        steps_per_epoch: optimizer steps in an epoch.
        cached: what the runs hold instead of raw contents.
    """

    def __init__(
        self,
        model: ActivityModel,
        transforms: Transforms,
        recipe: Recipe,
        *,
        steps_per_epoch: int,
        cached: Cached | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.transforms = transforms
        self.recipe = recipe
        self.steps_per_epoch = steps_per_epoch
        self.encode = RunEncoder(model, transforms, cached or Cached())
        self.augmenter = Augmenter(recipe.augmentation, self.config)
        fused_width: Any = model.fusion.output_width
        self.objectives = build_objectives(recipe.objectives, self.config, fused_width)
        self.stage, self.stage_start = recipe.stages[0], 0
        self.frozen: frozenset[Modality] = frozenset()
        self.learned, self.validated = Tally(), Tally()
        self._scores: Tensor | None = None
        self.begin_stage(self.stage, 0)

    @property
    def config(self) -> ModelConfig:
        """The model's configuration, with what was learned of the training split."""
        return self.transforms.config

    @property
    def training_config(self) -> TrainingConfig:
        """The recipe's section."""
        return self.recipe.training

    def begin_stage(self, stage: StageConfig, step: int) -> None:
        """Go over to a stage of the curriculum at an optimizer step of the whole training."""
        self.stage, self.stage_start = stage, step
        self.frozen = stage.frozen(self.config.modalities)
        for name, encoder in self.model.encoders.items():
            encoder.requires_grad_(name not in self.frozen)
        self.train(self.training)

    def train(self, mode: bool = True) -> Learner:
        """Frozen encoders stay in evaluation mode."""
        super().train(mode)
        for name in self.frozen:
            self.model.encoders[name].eval()
        return self

    @property
    def constant(self) -> tuple[str, ...]:
        """What the names of tensors begin with that no step changes: those of backbones that are frozen for good."""
        return tuple(
            f"model.encoders.{name}.backbone."
            for name, encoder in self.model.encoders.items()
            if isinstance(encoder, PretrainedEncoder) and encoder.is_frozen
        )

    def state_dict(self, *arguments: Any, **named: Any) -> Any:
        """Weights without what is constant: it need not be averaged, nor written after each epoch."""
        state: dict[str, Any] = super().state_dict(*arguments, **named)
        for name in [name for name in state if name.startswith(self.constant)]:
            del state[name]
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Take weights; what is constant stays as it is."""
        own = super().state_dict()
        kept = {name: tensor for name, tensor in own.items() if name.startswith(self.constant)}
        return super().load_state_dict({**state_dict, **kept}, strict, assign)

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
        tokens = self._cut(self.encode(batch), batch)
        return [self._logits(tokens, mask, batch) for mask in masks]

    def _cut(self, runs: Mapping[Modality, Tensor], batch: RunBatch) -> dict[Modality, Tensor]:
        return cut_tokens(runs, self.config, batch.targets.shape[1])

    def _cut_masks(self, masks: Tensor, batch: RunBatch) -> Mapping[Modality, Tensor]:
        return cut_masks(masks, self.config, batch.targets.shape[1])

    def _logits(self, tokens: Mapping[Modality, Tensor], masks: Tensor, batch: RunBatch) -> Tensor:
        logits: Tensor = self.model(tokens, self._cut_masks(masks, batch)).logits
        return logits.view(*batch.targets.shape[:2], -1)

    def training_step(self, batch: RunBatch, batch_index: int) -> Tensor:
        """The loss of one batch: what the stage shows of each run, then one of its modalities alone.

        Without the second part the modalities that learn fast (sound, words) leave the slow one (motion) at chance for
        long: the imbalance that Peng et al. describe (OGM-GE, arXiv 2203.15332).
        """
        del batch_index
        settings = self.training_config
        mixing = None
        own = batch
        if settings.mixup_alpha > 0:
            mixing = draw_mixing(batch.targets.shape[0], settings.mixup_alpha, batch.targets.device)
            batch = mixing.mix_truth(batch)
        shown = draw_masks(batch.masks, self.stage.modalities, settings.modality_dropout)
        with_single = self.stage.modalities != "singles" and settings.unimodal_weight > 0 and shown.shape[1] > 1
        single = keep_single(batch.masks) if with_single else None
        augmenter = None if self.recipe.augmentation == AugmentationConfig() else self.augmenter
        encoded = self.encode(own, frozen=self.frozen, augmenter=augmenter, mixing=mixing)
        tokens = self._cut(encoded, batch)
        logits = self._logits(tokens, shown, batch)
        losses = {"labels": self._loss(logits, batch)}
        if single is not None:
            losses["single"] = settings.unimodal_weight * self._loss(self._logits(tokens, single, batch), batch)
        losses |= self._objective_losses(tokens, batch)
        if settings.gradient_balance is not None:
            self._scores = self._single_scores(tokens, batch)
        return self._counted_up(losses, logits, batch)

    def _objective_losses(self, tokens: Mapping[Modality, Tensor], batch: RunBatch) -> dict[str, Tensor]:
        """Of everything the runs have, whatever the step shows: an objective makes its own masks."""
        if not self.objectives:
            return {}
        clips = batch.clips.repeat_interleave(batch.targets.shape[1])
        masks = self._cut_masks(batch.masks, batch)
        return objective_losses(
            self.objectives, ObjectiveInput(tokens, masks, clips, self.model.fusion, self.model.embedding)
        )

    def _counted_up(self, losses: Mapping[str, Tensor], logits: Tensor, batch: RunBatch) -> Tensor:
        """The sum of the losses, noted for the history."""
        loss = torch.stack(list(losses.values())).sum()
        for name, value in {"loss": loss, **{f"loss_{name}": value for name, value in losses.items()}}.items():
            self.learned.add(name, value)
        self.learned.add("accuracy", self._accuracy(logits, batch), self._counted(batch).sum())
        self.log("loss", loss, prog_bar=True, on_step=True, on_epoch=False, logger=False)
        return loss

    @torch.no_grad()
    def _single_scores(self, tokens: Mapping[Modality, Tensor], batch: RunBatch) -> Tensor:
        """How well each modality does alone: ``(M,)`` float in [0, 1]."""
        scores = []
        for index in range(len(self.config.modalities)):
            alone = torch.zeros_like(batch.masks)
            alone[:, index] = batch.masks[:, index]
            counted = self._counted(batch) & alone.any(dim=(1, 2))[:, None]
            logits = self._logits(tokens, alone, batch)
            scores.append(truth_scores(logits, batch.targets, counted, self.config.head.task))
        return torch.stack(scores)

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        """Balance the encoders' gradients, before they are clipped."""
        del optimizer
        balance = self.training_config.gradient_balance
        if balance is None or self._scores is None:
            return
        gathered: Tensor = self.all_gather(self._scores)  # type: ignore[assignment]  # a tensor gives a tensor
        scores = gathered.view(-1, len(self._scores)).mean(dim=0)
        seed = np.random.SeedSequence((self.training_config.seed, self.global_step, BALANCE_STREAM))
        generator = torch.Generator().manual_seed(int(seed.generate_state(1, np.uint64)[0]))
        encoders = {name: self.model.encoders[name] for name in self.config.modalities}
        balance_gradients(encoders, balance_coefficients(scores, balance.alpha), balance.noise, generator)

    def validation_step(self, batch: RunBatch, batch_index: int) -> None:
        """Loss and accuracy with all modalities, each window of the same weight."""
        del batch_index
        (logits,) = self(batch, [batch.masks])
        num_counted = self._counted(batch).sum()
        self.validated.add("val_loss", self._loss(logits, batch), num_counted)
        self.validated.add("val_accuracy", self._accuracy(logits, batch), num_counted)

    def on_validation_epoch_end(self) -> None:
        """Say the means, which are of all processes."""
        for name, value in self.validated.means(self._gather).items():
            self.log(name, value, prog_bar=True, logger=False)

    def learned_means(self) -> dict[str, float]:
        """The means over the epoch that ends: ``loss``, each part of it as ``loss_<name>``, and ``accuracy``."""
        return self.learned.means(self._gather)

    def _gather(self, values: Tensor) -> Tensor:
        gathered: Tensor = self.all_gather(values)  # type: ignore[assignment]  # as above
        return gathered

    def _counted(self, batch: RunBatch) -> Tensor:
        return counted_windows(batch.targets, batch.inside, self.config.head.task)

    def _loss(self, logits: Tensor, batch: RunBatch) -> Tensor:
        """Mean over the windows that count, and 0 where none does."""
        smoothing = self.training_config.label_smoothing
        return label_loss(logits, batch.targets, self._counted(batch), self.config.head.task, smoothing)

    def _accuracy(self, logits: Tensor, batch: RunBatch) -> Tensor:
        """Share of right windows, or with ``multi_label`` of right decisions at a score of 0.5."""
        return masked_mean(right_windows(logits, batch.targets, self.config.head.task), self._counted(batch))

    def learning_rate_at(self, step: int) -> float:
        """The learning rate at an optimizer step, as a share of the recipe's: warm-up and cosine, anew each stage."""
        steps = self.stage.epochs * self.steps_per_epoch
        warmup = round(steps * self.training_config.warmup_fraction)
        done = step - self.stage_start
        if done < warmup:
            return done / warmup
        return 0.5 * (1.0 + math.cos(math.pi * min(1.0, (done - warmup) / max(1, steps - warmup))))

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW (arXiv 1711.05101) with warm-up and cosine decay."""
        decayed = [parameter for parameter in self.parameters() if parameter.ndim > 1]
        plain = [parameter for parameter in self.parameters() if parameter.ndim <= 1]
        optimizer = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": self.training_config.weight_decay},
                {"params": plain, "weight_decay": 0.0},
            ],
            lr=self.training_config.learning_rate,
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self.learning_rate_at)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
