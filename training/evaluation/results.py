"""What an evaluation gives: frozen dataclasses that become JSON as they are."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from handler.segments import Task
from models.config import Modality
from training.metrics.bootstrap import Estimate
from training.metrics.calibration import ReliabilityBin


@dataclass(frozen=True)
class SubsetResult:
    """With some of the modalities, as if no other had been sent; of the clips that have at least one of them."""

    modalities: tuple[Modality, ...]
    num_windows: int
    accuracy: Estimate | None
    """Share of judged windows whose best label is right, before smoothing, in [0, 1]; with ``multi_label`` the share of
    right decisions, one for each window and label, at the checkpoint's threshold. None without a judged window."""
    top5_accuracy: Estimate | None
    """Share whose label is among the best five; None with ``multi_label`` or five labels and fewer."""
    balanced_accuracy: Estimate | None
    """Mean recall over the labels that occur, in [0, 1]."""
    mean_average_precision: Estimate | None
    """Mean over the labels that occur of the area under the precision-recall curve; None with ``single_label``."""
    clip_accuracy: Estimate | None
    """Share of clips whose best label by the mean of their judged windows' scores is right; None where a clip has more
    than one label, or with ``multi_label``."""
    ceiling: float | None
    """What these modalities can reach at most, by the data's construction; None where that is not known."""

    @property
    def headline(self) -> Estimate | None:
        """The one number: mean average precision with ``multi_label``, else accuracy."""
        return self.accuracy if self.mean_average_precision is None else self.mean_average_precision


@dataclass(frozen=True)
class ClassResult:
    """One label, with all modalities; None where the measure has no value."""

    label: str
    support: int
    """Judged windows of which it is true."""
    precision: Estimate | None
    recall: Estimate | None
    f1: Estimate | None
    average_precision: Estimate | None
    """None with ``single_label``."""


@dataclass(frozen=True)
class SegmentResult:
    """The segments that are answered, with all modalities."""

    f1: dict[str, Estimate | None]
    """Segmental F1 by IoU threshold, in [0, 1]."""
    edit: Estimate | None
    """In [0, 1]."""
    mean_boundary_error_seconds: Estimate | None
    """None where no clip has two activities."""


@dataclass(frozen=True)
class ConsistencyResult:
    """How often the label changes from one window to the next, in changes a minute of clip."""

    truth: Estimate | None
    before_smoothing: Estimate | None
    after_smoothing: Estimate | None


@dataclass(frozen=True)
class PairAgreement:
    """Two modalities, each alone, on the clips that have both."""

    modalities: tuple[Modality, Modality]
    agreement: Estimate | None
    """Share of decisions that are the same, right or wrong, in [0, 1]."""


@dataclass(frozen=True)
class AgreementResult:
    """What single modalities say and what comes of it, on the clips that have at least two; shares in [0, 1]."""

    pairs: tuple[PairAgreement, ...]
    all_agree: Estimate | None
    """Share of decisions on which all single modalities agree."""
    right_where_agreed: Estimate | None
    """Of these, the share that the fusion has right."""
    right_where_disagreed: Estimate | None
    """Of the others, the share that the fusion has right: how often it repairs a disagreement."""
    best_single: Modality
    """The modality that alone has most of the others right."""
    best_single_right_where_disagreed: Estimate | None
    """The share of the others that it has right."""


@dataclass(frozen=True)
class CalibrationResult:
    """How far scores are from the shares that are right, with all modalities, before smoothing."""

    temperature: float
    """What the checkpoint divides its logits by."""
    error_before: Estimate
    """Expected calibration error at a temperature of 1, in [0, 1]."""
    error_after: Estimate
    """At the checkpoint's temperature, as it is served."""
    bins_before: tuple[ReliabilityBin, ...]
    bins_after: tuple[ReliabilityBin, ...]


@dataclass(frozen=True)
class MissingResult:
    """A modality, or with ``each`` every one of them by its own draw, missing from a clip by chance."""

    modality: Modality
    probability: float
    score: Estimate | None
    """The headline measure with what is left; of each clip at least one modality is."""


@dataclass(frozen=True)
class NoiseResult:
    """White noise added to the sound."""

    snr_db: float
    modalities: tuple[Modality, ...]
    """What was used beside it: sound alone, or all."""
    score: Estimate | None


@dataclass(frozen=True)
class RobustnessResult:
    """The headline measure (:attr:`SubsetResult.headline`) when something is wrong with the input."""

    missing: tuple[MissingResult, ...]
    noise: tuple[NoiseResult, ...]
    """Empty for a model without sound."""


@dataclass(frozen=True)
class Percentiles:
    """Of the clips' times, in seconds."""

    p50: float
    p99: float


@dataclass(frozen=True)
class LatencyResult:
    """How long one clip takes on this machine, one clip at a time."""

    num_clips: int
    clip_seconds: float
    """Mean length of a clip."""
    decode_seconds: Percentiles
    model_seconds: Percentiles
    """Encoders, fusion, smoothing and segments."""
    real_time_factor: float
    """Seconds of clip for each second of decode and model; above 1 is faster than real time."""
    device: str
    dtype: str
    threads: int


@dataclass(frozen=True)
class Evaluation:
    """What a checkpoint reaches on a manifest; every estimate with its 95 % interval over clips, or groups of clips."""

    model: str
    """Name and version."""
    task: Task
    labels: tuple[str, ...]
    num_clips: int
    num_groups: int
    num_windows: int
    """Judged windows: with ``single_label`` those that lie inside one activity, with ``multi_label`` all."""
    subsets: tuple[SubsetResult, ...]
    """Every one of the 2^n - 1, small ones first; the last has all modalities."""
    classes: tuple[ClassResult, ...]
    confusion: tuple[tuple[int, ...], ...] | None
    """Rows the truth, columns the answer; None with ``multi_label``."""
    segments: SegmentResult | None
    """None where no clip is longer than one window."""
    consistency: ConsistencyResult | None
    """As ``segments``."""
    agreement: AgreementResult | None
    """None for a model of one modality, or where no clip has two."""
    calibration: CalibrationResult | None
    """None without a judged window."""
    robustness: RobustnessResult | None = None
    """None where it was not asked for."""
    latency: LatencyResult | None = None
    """None where it was not asked for."""

    @property
    def headline_name(self) -> str:
        """What the headline measure is called."""
        return "mean average precision" if self.task == "multi_label" else "accuracy"

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return asdict(self)
