"""The numbers of a report as HTML tables."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from training.evaluation.results import Evaluation
from training.metrics.bootstrap import Estimate

Rows = Sequence[Sequence[str]]


def render_table(head: Sequence[str], rows: Rows) -> str:
    """A table; the first column is text, the others are figures."""
    titles = "".join(f"<th>{escape(title)}</th>" for title in head)
    lines = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>\n" for row in rows)
    return f'<div class="scroll"><table>\n<thead><tr>{titles}</tr></thead>\n<tbody>\n{lines}</tbody></table></div>\n'


def subset_table(result: Evaluation) -> str:
    """Every subset of the modalities."""
    multi = result.task == "multi_label"
    third = "right decisions" if multi else "top 5"
    rows = [
        (
            " + ".join(subset.modalities),
            share(subset.headline),
            share(subset.accuracy if multi else subset.top5_accuracy),
            share(subset.balanced_accuracy),
            "-" if subset.ceiling is None else f"{subset.ceiling:.1%}",
            str(subset.num_windows),
        )
        for subset in result.subsets
    ]
    return render_table(("modalities", result.headline_name, third, "balanced accuracy", "ceiling", "windows"), rows)


def class_table(result: Evaluation) -> str:
    """Every label."""
    multi = result.task == "multi_label"
    head = ("label", "precision", "recall", "F1", *(("average precision",) if multi else ()), "windows")
    rows = [
        (
            each.label,
            share(each.precision),
            share(each.recall),
            share(each.f1),
            *((share(each.average_precision),) if multi else ()),
            str(each.support),
        )
        for each in result.classes
    ]
    return render_table(head, rows)


def course_table(result: Evaluation) -> str:
    """Whole clips, segments and changes; empty where there is none of them."""
    rows: list[tuple[str, str]] = []
    if result.subsets[-1].clip_accuracy is not None:
        rows.append(("accuracy of whole clips, by the mean of their windows", share(result.subsets[-1].clip_accuracy)))
    if result.segments is not None:
        rows += [(f"segmental F1 at IoU {overlap}", share(score)) for overlap, score in result.segments.f1.items()]
        rows.append(("edit score", share(result.segments.edit)))
        rows.append(("mean boundary error", number(result.segments.mean_boundary_error_seconds, "s")))
    if result.consistency is not None:
        rows.append(("changes of label a minute, truth", number(result.consistency.truth)))
        rows.append(("changes of label a minute, before smoothing", number(result.consistency.before_smoothing)))
        rows.append(("changes of label a minute, after smoothing", number(result.consistency.after_smoothing)))
    return render_table(("measure", "value"), rows) if rows else ""


def agreement_table(result: Evaluation) -> str:
    """What single modalities say; empty where there is only one."""
    found = result.agreement
    if found is None:
        return ""
    rows = [(f"{' and '.join(pair.modalities)} say the same", share(pair.agreement)) for pair in found.pairs]
    rows += [
        ("all say the same", share(found.all_agree)),
        ("of these, right with all modalities", share(found.right_where_agreed)),
        ("of the others, right with all modalities (repaired)", share(found.right_where_disagreed)),
        (f"of the others, right with {found.best_single} alone", share(found.best_single_right_where_disagreed)),
    ]
    return render_table(("each modality alone", "share of decisions"), rows)


def latency_table(result: Evaluation) -> str:
    """Times; empty where they were not measured."""
    found = result.latency
    if found is None:
        return ""
    rows = [
        (name, f"{1000 * seconds.p50:.1f} ms", f"{1000 * seconds.p99:.1f} ms")
        for name, seconds in (("decode", found.decode_seconds), ("model", found.model_seconds))
    ]
    text = (
        f"<p>{found.num_clips} clips of {found.clip_seconds:.1f} s on average, one at a time, {escape(found.device)}, "
        f"{escape(found.dtype)}, {found.threads} threads: {found.real_time_factor:.1f} seconds of clip a second.</p>\n"
    )
    return text + render_table(("step", "median", "99 % of clips within"), rows)


def share(estimate: Estimate | None) -> str:
    """In per cent with the interval."""
    if estimate is None:
        return "-"
    return f"{estimate.value:.1%} ({100 * estimate.low:.1f} to {100 * estimate.high:.1f})"


def number(estimate: Estimate | None, unit: str = "") -> str:
    """With the interval."""
    if estimate is None:
        return "-"
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f}) {unit}".rstrip()
