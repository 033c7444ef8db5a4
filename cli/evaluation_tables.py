"""An evaluation as tables of at most 80 columns."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

from training.evaluation.results import (
    AgreementResult,
    ClassResult,
    Evaluation,
    LatencyResult,
    RobustnessResult,
    SubsetResult,
)
from training.metrics.bootstrap import Estimate

MAX_CLASSES = 20
"""Labels that are shown; of more those that are told worst."""


def show_evaluation(result: Evaluation, console: Console) -> None:
    """Print the tables of an evaluation."""
    console.print(_subsets(result))
    console.print(_classes(result.classes))
    console.print(_quality(result))
    if result.agreement is not None:
        console.print(_agreement(result.agreement))
    if result.robustness is not None:
        for table in _robustness(result.robustness, result.headline_name):
            console.print(table)
    if result.latency is not None:
        console.print(_latency(result.latency))


def _table(title: str, first: str, *others: str) -> Table:
    """A table whose other columns hold figures."""
    table = Table(title=title, title_justify="left")
    table.add_column(first, overflow="fold")
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _subsets(result: Evaluation) -> Table:
    multi = result.task == "multi_label"
    judged = "windows" if multi else "windows inside one activity"
    title = f"{result.num_windows} {judged}, {result.num_clips} clips; in brackets 95 % of resampled sets"
    third = "right decisions" if multi else "top 5"
    table = _table(title, "modalities", "mAP" if multi else "accuracy", third, "balanced", "ceiling")
    for subset in result.subsets:
        table.add_row(" + ".join(subset.modalities), *_subset_cells(subset, multi=multi))
    return table


def _subset_cells(subset: SubsetResult, *, multi: bool) -> Iterable[str]:
    third = subset.accuracy if multi else subset.top5_accuracy
    ceiling = "-" if subset.ceiling is None else f"{subset.ceiling:.1%}"
    return (percent(subset.headline, wide=True), percent(third), percent(subset.balanced_accuracy), ceiling)


def _classes(classes: tuple[ClassResult, ...]) -> Table:
    occurring = [each for each in classes if each.support or each.precision is not None]
    shown = occurring
    title = "Labels, all modalities"
    if len(occurring) > MAX_CLASSES:
        shown = sorted(occurring, key=lambda each: -1.0 if each.f1 is None else each.f1.value)[:MAX_CLASSES]
        title += f"; of {len(occurring)} the {MAX_CLASSES} of the lowest F1"
    table = _table(title, "label", "precision", "recall", "F1", "windows")
    for each in shown:
        table.add_row(
            each.label, percent(each.precision), percent(each.recall), percent(each.f1, wide=True), str(each.support)
        )
    return table


def _quality(result: Evaluation) -> Table:
    """Segments, steadiness and calibration."""
    table = _table("All modalities", "measure", "value", "95 % interval")
    segments, consistency, calibration = result.segments, result.consistency, result.calibration
    if result.subsets[-1].clip_accuracy is not None:
        _add(table, "whole clips: accuracy, by their windows' mean", result.subsets[-1].clip_accuracy)
    if segments is not None:
        for overlap, score in segments.f1.items():
            _add(table, f"segments: F1 at IoU {overlap}", score)
        _add(table, "segments: edit score", segments.edit)
        _add(table, "segments: mean boundary error, s", segments.mean_boundary_error_seconds)
    if consistency is not None:
        _add(table, "changes of label a minute: truth", consistency.truth)
        _add(table, "changes of label a minute: before smoothing", consistency.before_smoothing)
        _add(table, "changes of label a minute: after smoothing", consistency.after_smoothing)
    if calibration is not None:
        _add(table, "calibration error at temperature 1", calibration.error_before)
        _add(table, f"calibration error at temperature {calibration.temperature:g}", calibration.error_after)
    return table


def _agreement(result: AgreementResult) -> Table:
    table = _table("Modalities alone", "measure", "share", "95 % interval")
    for pair in result.pairs:
        _add_share(table, f"{' and '.join(pair.modalities)} say the same", pair.agreement)
    _add_share(table, "all say the same", result.all_agree)
    _add_share(table, "of these, right together", result.right_where_agreed)
    _add_share(table, "of the others, right together (repaired)", result.right_where_disagreed)
    _add_share(table, f"of the others, {result.best_single} alone is right", result.best_single_right_where_disagreed)
    return table


def _robustness(result: RobustnessResult, measure: str) -> Iterable[Table]:
    """One row a modality, one column a probability; then one row a ratio of signal to noise."""
    if result.missing:
        probabilities = sorted({each.probability for each in result.missing})
        names = [f"p = {probability:g}" for probability in probabilities]
        table = _table(f"Missing from a clip with probability p: {measure}", "missing", *names)
        scores = {(each.modality, each.probability): each.score for each in result.missing}
        for name in dict.fromkeys(each.modality for each in result.missing):
            table.add_row(name, *(percent(scores[name, probability]) for probability in probabilities))
        yield table
    if result.noise:
        subsets = list(dict.fromkeys(each.modalities for each in result.noise))
        titles = ["sound alone" if names == ("audio",) else "all modalities" for names in subsets]
        table = _table(f"White noise on the sound: {measure}", "signal to noise", *titles)
        noisy = {(each.modalities, each.snr_db): each.score for each in result.noise}
        for snr_db in dict.fromkeys(each.snr_db for each in result.noise):
            table.add_row(f"{snr_db:g} dB", *(percent(noisy[names, snr_db], wide=True) for names in subsets))
        yield table


def _latency(result: LatencyResult) -> Table:
    title = f"Times of {result.num_clips} clips of {result.clip_seconds:.1f} s on average, {result.device}, "
    table = _table(title + f"{result.dtype}, {result.threads} threads", "step", "median", "99 %")
    for name, seconds in (("decode", result.decode_seconds), ("model", result.model_seconds)):
        table.add_row(name, f"{1000 * seconds.p50:.1f} ms", f"{1000 * seconds.p99:.1f} ms")
    table.add_row("seconds of clip a second", f"{result.real_time_factor:.1f}", "")
    return table


def _add(table: Table, name: str, estimate: Estimate | None) -> None:
    if estimate is None:
        table.add_row(name, "-", "")
    else:
        table.add_row(name, f"{estimate.value:.3f}", f"{estimate.low:.3f} .. {estimate.high:.3f}")


def _add_share(table: Table, name: str, estimate: Estimate | None) -> None:
    if estimate is None:
        table.add_row(name, "-", "")
    else:
        table.add_row(name, f"{estimate.value:.1%}", f"{estimate.low:.1%} .. {estimate.high:.1%}")


def percent(estimate: Estimate | None, *, wide: bool = False) -> str:
    """A share, when ``wide`` with its interval."""
    if estimate is None:
        return "-"
    interval = f" ({100 * estimate.low:.1f} .. {100 * estimate.high:.1f})" if wide else ""
    return f"{estimate.value:.1%}{interval}"
