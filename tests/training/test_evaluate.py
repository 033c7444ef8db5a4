"""Evaluation on hand-made scores: what is counted, in which order, and what of it goes where."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from handler.clip import Clip
from handler.inference import EncodedClip, ScoredWindows
from handler.options import RequestOptions, ResolvedOptions, resolve_options
from handler.pipeline import ActivityPipeline
from handler.runtime import Runtime
from models.checkpoint import Checkpoint, CheckpointDescription
from models.config import DecisionConfig, Modality
from models.model import build_model
from models.settings import SettingsError
from models.tokenizer import train_tokenizer
from tests.training.clips import TINY, decode_tiny
from training.dataset import LabelledClip, window_targets
from training.evaluate import Wanted, evaluate
from training.evaluation.observe import inside_windows
from training.evaluation.results import Evaluation
from training.manifest import ManifestError, read_manifest, write_manifest
from training.metrics.bootstrap import Estimate
from training.metrics.classification import average_precision, mean_average_precision
from training.metrics.segments import MatchCounts, clip_boundary_errors, clip_edit_score, match_segments

# Without smoothing and with every run kept, segments follow from the scores window by window.
PLAIN = TINY.model_copy(
    update={"decision": DecisionConfig(smoothing_windows=1, lookahead_windows=0, min_segment_seconds=0.0)}
)
SUBSETS: list[tuple[Modality, ...]] = [
    ("video",),
    ("audio",),
    ("text",),
    ("video", "audio"),
    ("video", "text"),
    ("audio", "text"),
    ("video", "audio", "text"),
]
FEW = Wanted(num_draws=20)
Rule = Callable[[Clip, LabelledClip], NDArray[np.float64]]


def make_pipeline(config: object = PLAIN) -> ActivityPipeline:
    torch.manual_seed(0)
    description = CheckpointDescription.model_validate({"name": "tiny", "version": "1", "config": config})
    tokenizer = train_tokenizer(["hello", "good bye"] * 2, 96)
    return ActivityPipeline(
        Checkpoint(description, build_model(description.config).eval(), tokenizer),
        runtime=Runtime(torch.device("cpu"), torch.float32, threads=1),
    )


class RuledScorer:
    """Gives scores by a rule that sees the clip, with the modalities that are used, and its truth."""

    def __init__(self, clips: Sequence[LabelledClip], rule: Rule) -> None:
        self.truth = {clip.clip.schedule.span: clip for clip in clips}
        self.rule = rule
        self.seen: list[tuple[Modality, ...]] = []

    def encode(self, clip: Clip) -> EncodedClip:
        """Nothing is encoded."""
        return EncodedClip(clip, {})

    def fuse(self, encoded: EncodedClip, names: Sequence[Modality]) -> ScoredWindows:
        """What the rule says."""
        clip = encoded.clip
        kept = replace(clip, masks={name: mask for name, mask in clip.masks.items() if name in names})
        self.seen.append(tuple(kept.masks))
        scores = self.rule(kept, self.truth[clip.schedule.span])
        return ScoredWindows(scores, np.zeros((len(scores), 48), dtype=np.float32))


def true_scores(labelled: LabelledClip, confidence: float = 0.9) -> NDArray[np.float64]:
    """``confidence`` for what holds at each window's centre, the rest of it shared; ``(W, 8)``."""
    targets = window_targets(labelled.entry.segments, labelled.clip.schedule, TINY.labels)
    targets[~targets.any(axis=1), 0] = 1.0  # some label, where the truth has none
    rest = (1.0 - confidence) / 7
    return np.where(targets > 0, confidence, rest).astype(np.float64)


def measure(
    clips: Sequence[LabelledClip],
    manifest: Path,
    rule: Rule,
    monkeypatch: pytest.MonkeyPatch,
    ceilings: Callable[[Sequence[Modality]], float | None] | None = None,
) -> tuple[Evaluation, RuledScorer]:
    pipeline, scorer = make_pipeline(), RuledScorer(clips, rule)
    monkeypatch.setattr(pipeline, "scorer", scorer)
    return evaluate(pipeline, manifest, ceilings=ceilings, wanted=FEW), scorer


def values(estimates: Iterable[Estimate | None]) -> list[float | None]:
    return [None if estimate is None else estimate.value for estimate in estimates]


def test_a_perfect_model_is_measured_as_one(
    tiny_clips: list[LabelledClip], tiny_manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result, scorer = measure(tiny_clips, tiny_manifest, lambda _, labelled: true_scores(labelled), monkeypatch)
    assert [subset.modalities for subset in result.subsets] == SUBSETS
    assert [subset.accuracy for subset in result.subsets] == [Estimate(1.0, 1.0, 1.0)] * 7
    assert [subset.ceiling for subset in result.subsets] == [None] * 7
    # Each clip is scored with each subset, once.
    assert scorer.seen == SUBSETS * 6
    assert (result.num_clips, result.num_groups) == (6, 6)
    assert result.num_windows == sum(len(inside_windows(clip)) for clip in tiny_clips) > 12
    assert {subset.num_windows for subset in result.subsets} == {result.num_windows}
    assert result.segments is not None
    assert values(result.segments.f1.values()) == [1.0, 1.0, 1.0]
    assert values([result.segments.edit]) == [1.0]
    # An edge lies half-way between the centres of two windows, so within half a stride of the truth.
    assert result.segments.mean_boundary_error_seconds is not None
    assert 0.0 < result.segments.mean_boundary_error_seconds.value <= 0.25
    assert result.calibration is not None
    assert result.calibration.error_after.value == pytest.approx(0.1)
    assert result.confusion is not None
    assert np.trace(result.confusion) == np.sum(result.confusion) == result.num_windows
    assert [each.support for each in result.classes] == np.sum(result.confusion, axis=1).tolist()
    assert (result.robustness, result.latency) == (None, None)


def test_accuracy_by_subset_and_ceilings(
    tiny_clips: list[LabelledClip], tiny_manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Right only where sound is there; the ceilings are passed through under the right subset."""
    asked: list[tuple[Modality, ...]] = []

    def ceilings(names: Sequence[Modality]) -> float | None:
        asked.append(tuple(names))
        return None if tuple(names) == ("text",) else len(names) / 10 + ("video" in names)

    def rule(clip: Clip, labelled: LabelledClip) -> NDArray[np.float64]:
        scores = true_scores(labelled)
        return scores if "audio" in clip.masks else np.roll(scores, 1, axis=1)

    result, _ = measure(tiny_clips, tiny_manifest, rule, monkeypatch, ceilings)
    assert asked == SUBSETS
    assert values(subset.accuracy for subset in result.subsets) == [float("audio" in subset) for subset in SUBSETS]
    assert [subset.ceiling for subset in result.subsets] == [1.1, 0.1, None, 1.2, 1.2, 0.2, 1.3]
    assert result.segments is not None
    assert values([result.segments.f1["0.5"]]) == [1.0]  # of all modalities, not of the last one that was wrong


def test_predictions_and_truth_are_not_mixed_up(
    tiny_clips: list[LabelledClip], tiny_manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Predictions that miss the second activity: one of two is found, and no boundary, which counts the cap of 5 s.

    With the two swapped there would be no boundary to find at all.
    """

    def first_only(_: Clip, labelled: LabelledClip) -> NDArray[np.float64]:
        scores = true_scores(labelled)
        return np.repeat(scores[:1], len(scores), axis=0)

    result, _ = measure(tiny_clips, tiny_manifest, first_only, monkeypatch)
    assert result.segments is not None
    segments = result.segments
    assert values([segments.mean_boundary_error_seconds, segments.edit]) == [5.0, 0.5]
    assert segments.f1["0.1"] is not None
    assert segments.f1["0.5"] is not None
    assert segments.f1["0.1"].value == pytest.approx(2 / 3)  # every prediction is right, half of the truth is found
    assert segments.f1["0.5"].value < 2 / 3  # the prediction is twice as long as its truth
    assert result.subsets[-1].accuracy is not None
    assert 0.3 < result.subsets[-1].accuracy.value < 0.7


def test_segments_are_measured_as_they_are_answered(
    tiny_clips: list[LabelledClip], tiny_manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scores of noise, so that every measure has a value of its own, against the metrics on the pipeline's answer."""

    def noise(clip: Clip, _: LabelledClip) -> NDArray[np.float64]:
        rng = np.random.default_rng(round(1000 * clip.schedule.span.stop_seconds))
        return rng.dirichlet(np.full(8, 0.2), size=clip.schedule.num_windows)

    result, scorer = measure(tiny_clips, tiny_manifest, noise, monkeypatch)
    pipeline = make_pipeline()
    monkeypatch.setattr(pipeline, "scorer", scorer)
    options = pipeline_options(pipeline)
    scored = [scorer.fuse(scorer.encode(clip.clip), TINY.modalities) for clip in tiny_clips]
    predicted = [
        pipeline.decide(clip.clip, output, options).segments for clip, output in zip(tiny_clips, scored, strict=True)
    ]
    truths = [clip.entry.segments for clip in tiny_clips]
    assert result.segments is not None
    found = values([result.segments.edit, result.segments.f1["0.1"], result.segments.mean_boundary_error_seconds])
    pairs = list(zip(predicted, truths, strict=True))
    edit = np.mean([clip_edit_score(*pair) for pair in pairs])
    counts = sum((match_segments(*pair, 0.1) for pair in pairs), MatchCounts())
    errors = np.concatenate([clip_boundary_errors(*pair) for pair in pairs])
    assert found == pytest.approx([edit, counts.f1, errors.mean()])
    assert found[0] is not None
    assert 0.0 < found[0] < 1.0


def pipeline_options(pipeline: ActivityPipeline) -> ResolvedOptions:
    return resolve_options(RequestOptions(), pipeline.config)


def test_a_real_model_and_all_that_can_be_measured(tiny_manifest: Path) -> None:
    calls: list[tuple[str, int, int]] = []
    result = evaluate(
        make_pipeline(),
        tiny_manifest,
        wanted=Wanted(robustness=True, latency=True, num_draws=20),
        progress=lambda *call: calls.append(call),
    )
    assert calls == [(step, done, 6) for step in ("Scoring", "Measuring times") for done in range(1, 7)]
    written = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert [entry["modalities"] for entry in written["subsets"]] == [list(subset) for subset in SUBSETS]
    assert set(written["subsets"][0]["accuracy"]) == {"value", "low", "high"}
    assert all(0.0 <= entry["accuracy"]["low"] <= entry["accuracy"]["high"] <= 1.0 for entry in written["subsets"])
    assert len(written["classes"]) == len(written["confusion"]) == 8
    assert len(written["robustness"]["missing"]) == 4 * 5
    assert [entry["modalities"] for entry in written["robustness"]["noise"]] == (
        [["audio"]] * 6 + [["video", "audio", "text"]] * 6
    )
    assert written["latency"]["num_clips"] == 6


def test_the_splits_are_measured_apart(tiny_manifest: Path) -> None:
    calls: list[tuple[str, int, int]] = []
    pipeline = make_pipeline()
    held = evaluate(pipeline, tiny_manifest, split="val", wanted=FEW, progress=lambda *call: calls.append(call))
    assert held.num_clips == 2
    assert calls == [("Scoring", 1, 2), ("Scoring", 2, 2)]
    assert evaluate(pipeline, tiny_manifest, split="train", wanted=FEW).num_clips == 4
    with pytest.raises(SettingsError, match=r"no clip of split 'test'; it has train, val\."):
        evaluate(pipeline, tiny_manifest, split="test")


def test_clips_of_one_label_are_judged_whole(tiny_manifest: Path) -> None:
    """A label instead of segments: every window of the clip counts, with this label."""
    entries = [replace(entry, segments=(), label="wave_rise_greet") for entry in read_manifest(tiny_manifest)]
    manifest = tiny_manifest.with_name("labels.jsonl")
    write_manifest(manifest, [replace(entry, group="one speaker") for entry in entries])
    result = evaluate(make_pipeline(), manifest, wanted=FEW)
    assert result.num_windows == sum(clip.clip.schedule.num_windows for clip in decode_tiny(manifest))
    assert [each.support for each in result.classes] == [result.num_windows, *[0] * 7]
    assert result.num_groups == 1


def test_several_labels_at_a_time(tiny_clips: list[LabelledClip], tiny_manifest: Path) -> None:
    """Every window is judged, by mean average precision, against the labels at its centre."""
    config = TINY.model_copy(update={"head": TINY.head.model_copy(update={"task": "multi_label"})})
    pipeline = make_pipeline(config)
    result = evaluate(pipeline, tiny_manifest, wanted=Wanted(robustness=True, num_draws=20))
    scores = np.concatenate([pipeline.scorer.score(clip.clip).scores for clip in tiny_clips])
    targets = np.concatenate(
        [window_targets(clip.entry.segments, clip.clip.schedule, TINY.labels) > 0 for clip in tiny_clips]
    )
    assert result.num_windows == len(scores)
    full = result.subsets[-1]
    assert full.headline == full.mean_average_precision
    assert result.headline_name == "mean average precision"
    assert values([full.mean_average_precision, full.accuracy, full.top5_accuracy]) == [
        pytest.approx(mean_average_precision(scores, targets)[0]),
        pytest.approx(np.mean((scores >= config.decision.threshold) == targets)),
        None,
    ]
    assert result.confusion is None
    assert values(each.average_precision for each in result.classes) == pytest.approx(
        [average_precision(scores[:, k], targets[:, k])[0] for k in range(8)]
    )
    assert result.agreement is not None
    json.dumps(result.to_json(), allow_nan=False)


def test_without_a_window_inside_an_activity_there_is_no_accuracy(tiny_manifest: Path) -> None:
    """Activities of 1.5 s, in windows of 2 s."""
    entries = []
    for entry in read_manifest(tiny_manifest):
        (first, _) = entry.segments
        entries.append(replace(entry, segments=(replace(first, stop_seconds=first.start_seconds + 1.5),)))
    manifest = tiny_manifest.with_name("short-activities.jsonl")
    write_manifest(manifest, entries)
    result = evaluate(make_pipeline(), manifest, wanted=Wanted(robustness=True, num_draws=20))
    assert result.num_windows == 0
    assert [subset.accuracy for subset in result.subsets] == [None] * 7
    assert result.calibration is None
    assert result.agreement is None
    assert result.segments is not None
    assert result.segments.mean_boundary_error_seconds is None
    json.dumps(result.to_json(), allow_nan=False)


def test_a_model_of_one_modality_has_one_subset(tiny_manifest: Path) -> None:
    result = evaluate(make_pipeline(PLAIN.model_copy(update={"audio": None, "text": None})), tiny_manifest, wanted=FEW)
    assert [subset.modalities for subset in result.subsets] == [("video",)]
    assert result.agreement is None


def test_what_cannot_be_measured(tiny_manifest: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"labels that the model does not have: bounce_fall_leave\. Known labels"):
        evaluate(make_pipeline(TINY.model_copy(update={"labels": TINY.labels[:7]})), tiny_manifest)
    (tmp_path / "manifest.jsonl").write_text("{}\n", encoding="utf-8")
    with pytest.raises(ManifestError, match="no file is named"):
        evaluate(make_pipeline(), tmp_path / "manifest.jsonl")
