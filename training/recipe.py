"""A recipe: the model and how it is trained, in one YAML file of config/recipes/."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from models.config import Modality, ModelConfig
from models.settings import Fraction, PositiveFloat, PositiveInt, Settings
from training.augment.config import AugmentationConfig
from training.objectives.config import ObjectivesConfig

Metric = Literal["val_loss", "val_accuracy"]
NonNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]


class EarlyStoppingConfig(Settings):
    """Ends the last stage when ``metric`` has not improved by more than ``min_delta`` for ``patience`` epochs.

    The checkpoint is then that of the best epoch of the stage, whether the stage was ended early or not.
    """

    metric: Metric = "val_loss"
    patience: PositiveInt = 5
    min_delta: NonNegative = 0.0


class GradientBalanceConfig(Settings):
    """OGM-GE (Peng et al., CVPR 2022, arXiv 2203.15332): see :mod:`training.balance`.

    ``alpha``: how strongly the gradients of the encoders that are ahead are damped. ``noise``: standard deviation of
    what is added to each encoder's gradients, as a share of their own; 0 leaves it out.
    """

    alpha: PositiveFloat = 0.5
    noise: NonNegative = 1.0


class TrainingConfig(Settings):
    """How the model is trained.

    ``epochs`` passes over the clips (where the recipe has no curriculum); each step takes ``clips_per_batch`` runs of
    ``hops_per_run`` hops: many short runs give a steadier gradient than few long ones, whose windows are alike.
    ``accumulate_batches`` of them make one optimizer step. A modality is dropped from a whole run with probability
    ``modality_dropout``, never all of them; the loss with one of them alone counts ``unimodal_weight``.
    ``warmup_fraction`` of a stage's steps raise the learning rate from zero, the rest lower it along a cosine.

    ``mixup_alpha`` above 0 mixes each run with another one, by a share drawn from Beta(alpha, alpha) (arXiv
    1710.09412). ``ema_decay``: validation and checkpoint use the exponential moving average of the weights.
    ``precision``: ``auto`` is bfloat16 autocast on a GPU and float32 on a CPU.
    """

    epochs: PositiveInt = 12
    clips_per_batch: PositiveInt = 40
    hops_per_run: PositiveInt = 5
    accumulate_batches: PositiveInt = 1
    learning_rate: PositiveFloat = 1e-3
    weight_decay: NonNegative = 0.05
    warmup_fraction: Fraction = 0.1
    gradient_clip: PositiveFloat = 1.0
    modality_dropout: Fraction = 0.3
    unimodal_weight: NonNegative = 1.0
    label_smoothing: Fraction = 0.0
    mixup_alpha: NonNegative = 0.0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    ema_decay: Annotated[float, Field(gt=0.0, lt=1.0)] | None = None
    early_stopping: EarlyStoppingConfig | None = None
    gradient_balance: GradientBalanceConfig | None = None
    seed: Annotated[int, Field(ge=0)] = 0


class UntilConfig(Settings):
    """Ends a stage before its last epoch: when ``metric`` is reached, or no longer improves for ``patience`` epochs."""

    metric: Metric = "val_accuracy"
    at_least: float | None = None
    at_most: float | None = None
    patience: PositiveInt | None = None

    @model_validator(mode="after")
    def _says_when(self) -> Self:
        if self.at_least is None and self.at_most is None and self.patience is None:
            raise ValueError("give at_least, at_most or patience")
        return self


class StageConfig(Settings):
    """A stage of the curriculum, of at most ``epochs``.

    ``modalities``: what a run is seen with in each step: ``singles``, one of its modalities; ``pairs``, two of them;
    ``all``, those that modality dropout leaves. ``freeze``: the encoders that do not learn (``all`` is each of them);
    they run in evaluation mode.
    """

    name: Annotated[str, Field(min_length=1)]
    epochs: PositiveInt
    modalities: Literal["singles", "pairs", "all"] = "all"
    freeze: tuple[Modality, ...] | Literal["all"] = ()
    until: UntilConfig | None = None

    def frozen(self, modalities: tuple[Modality, ...]) -> frozenset[Modality]:
        """Which of a model's encoders do not learn."""
        return frozenset(modalities if self.freeze == "all" else self.freeze)


class Recipe(Settings):
    """What ``activity train`` reads; ``name`` and ``version`` are the checkpoint's."""

    name: Annotated[str, Field(min_length=1)] = "activity"
    version: Annotated[str, Field(min_length=1)] = "1.0"
    model: ModelConfig
    training: TrainingConfig = TrainingConfig()
    objectives: ObjectivesConfig = ObjectivesConfig()
    curriculum: tuple[StageConfig, ...] = ()
    augmentation: AugmentationConfig = AugmentationConfig()

    @property
    def stages(self) -> tuple[StageConfig, ...]:
        """The curriculum; one stage of ``training.epochs`` where there is none."""
        return self.curriculum or (StageConfig(name="all", epochs=self.training.epochs),)

    @property
    def always_frozen(self) -> frozenset[Modality]:
        """The encoders that learn in no stage."""
        return frozenset.intersection(*(stage.frozen(self.model.modalities) for stage in self.stages))

    @property
    def changes_inputs(self) -> bool:
        """Whether a training step changes what the encoders are given."""
        return self.augmentation != AugmentationConfig() or self.training.mixup_alpha > 0

    @model_validator(mode="after")
    def _runs_hold_windows(self) -> Self:
        runs, windows = self.training.hops_per_run, self.model.windows.hops
        if runs < windows:
            raise ValueError(f"training.hops_per_run {runs} must be at least model.windows.hops {windows}")
        return self

    @model_validator(mode="after")
    def _stages_fit(self) -> Self:
        for number, stage in enumerate(self.curriculum):
            unknown = stage.frozen(self.model.modalities) - set(self.model.modalities)
            if unknown:
                raise ValueError(
                    f"curriculum.{number}.freeze has {', '.join(sorted(unknown))}, "
                    f"the model has {', '.join(self.model.modalities)}"
                )
        names = [stage.name for stage in self.curriculum]
        if len(set(names)) != len(names):
            raise ValueError("the stages of the curriculum need different names")
        self._check_embedding()
        if self.training.gradient_balance is not None and len(self.model.modalities) < 2:
            raise ValueError("training.gradient_balance needs a model of at least two modalities")
        return self

    def _check_embedding(self) -> None:
        """What no objective trains would stay random."""
        if self.model.embedding is None:
            return
        contrastive = self.objectives.contrastive
        if contrastive is None or not contrastive.weight:
            raise ValueError("model.embedding is trained by objectives.contrastive: give it, and a weight above 0")
        paired = {name for pair in contrastive.pairs or () for name in pair} or set(self.model.embedded_modalities)
        if paired != set(self.model.embedded_modalities):
            raise ValueError(
                f"objectives.contrastive.pairs are of {', '.join(sorted(paired))}, "
                f"model.embedding of {', '.join(sorted(self.model.embedded_modalities))}: both must be the same"
            )
        if "width" in contrastive.model_fields_set and contrastive.width != self.model.embedding.width:
            raise ValueError(
                f"objectives.contrastive.width {contrastive.width} is not model.embedding.width "
                f"{self.model.embedding.width}, which holds: leave it out"
            )
