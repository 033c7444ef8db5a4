"""Evaluation on hand-made scores: what is counted, in which order, and what of it goes where."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from handler.clip import Clip
from handler.inference import ScoredWindows
from handler.options import RequestOptions, ResolvedOptions, resolve_options
from handler.pipeline import ActivityPipeline
from handler.runtime import Runtime
from handler.windows import Span
from models.checkpoint import Checkpoint, CheckpointDescription
from models.config import DecisionConfig, Modality
from models.model import build_model
from models.settings import SettingsError
from models.tokenizer import train_tokenizer
from tests.training.clips import TINY
from training.dataset import LabelledClip, window_targets
from training.evaluate import Evaluation, evaluate, inside_windows, keep_modalities
from training.manifest import LabelledSegment, ManifestError, read_manifest, write_manifest
from training.metrics import boundary_error_seconds, edit_score, segmental_f1

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
    """Gives scores by a rule that sees the clip and its truth."""

    def __init__(self, clips: Sequence[LabelledClip], rule: Rule) -> None:
        self.truth = {clip.clip.schedule.span: clip for clip in clips}
        self.rule = rule
        self.seen: list[tuple[Modality, ...]] = []

    def score(self, clip: Clip) -> ScoredWindows:
        """What the rule says."""
        self.seen.append(tuple(clip.masks))
        scores = self.rule(clip, self.truth[clip.schedule.span])
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
    return evaluate(pipeline, manifest, ceilings=ceilings), scorer


def test_a_perfect_model_is_measured_as_one(
    tiny_clips: list[LabelledClip], tiny_manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result, scorer = measure(tiny_clips, tiny_manifest, lambda _, labelled: true_scores(labelled), monkeypatch)
    assert [subset.modalities for subset in result.subsets] == SUBSETS
    assert [subset.accuracy for subset in result.subsets] == [1.0] * 7
    assert [subset.ceiling for subset in result.subsets] == [None] * 7
    # Each subset's clips are scored with these modalities only, all six of them.
    assert scorer.seen == [subset for subset in SUBSETS for _ in range(6)]
    assert result.num_clips == 6
    assert result.num_windows == sum(len(inside_windows(clip)) for clip in tiny_clips) > 12
    assert result.f1 == {"0.1": 1.0, "0.25": 1.0, "0.5": 1.0}
    assert result.edit == 1.0
    # An edge lies half-way between the centres of two windows, so within half a stride of the truth.
    assert result.mean_boundary_error_seconds is not None
    assert 0.0 < result.mean_boundary_error_seconds <= 0.25
    assert result.calibration_error == pytest.approx(0.1)


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
    assert {subset.modalities: subset.accuracy for subset in result.subsets} == {
        subset: float("audio" in subset) for subset in SUBSETS
    }
    assert [subset.ceiling for subset in result.subsets] == [1.1, 0.1, None, 1.2, 1.2, 0.2, 1.3]
    assert result.f1["0.5"] == 1.0  # of all modalities, not of the last one that was wrong


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
    assert result.mean_boundary_error_seconds == 5.0
    assert result.edit == 0.5
    assert result.f1["0.1"] == pytest.approx(2 / 3)  # every prediction is right, half of the truth is found
    assert result.f1["0.5"] < 2 / 3  # the prediction is twice as long as its truth
    assert result.subsets[-1].accuracy is not None
    assert 0.3 < result.subsets[-1].accuracy < 0.7


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
    predicted = [pipeline.decide(clip.clip, scorer.score(clip.clip), options).segments for clip in tiny_clips]
    truths = [clip.entry.segments for clip in tiny_clips]
    assert result.edit == edit_score(predicted, truths)
    assert result.f1["0.1"] == segmental_f1(predicted, truths, 0.1)
    assert result.mean_boundary_error_seconds == boundary_error_seconds(predicted, truths)
    assert 0.0 < result.edit < 1.0


def pipeline_options(pipeline: ActivityPipeline) -> ResolvedOptions:
    return resolve_options(RequestOptions(), pipeline.config)


def test_windows_across_a_boundary_are_left_out(tiny_clips: list[LabelledClip]) -> None:
    schedule = replace(tiny_clips[0].clip.schedule, span=Span(10.0, 15.0), num_hops=10)
    clip = replace(tiny_clips[0].clip, schedule=schedule)
    truth = (LabelledSegment(10.0, 12.5, "a"), LabelledSegment(12.5, 15.0, "b"))
    labelled = LabelledClip(replace(tiny_clips[0].entry, segments=truth), clip)
    # Windows of 2 s each 0.5 s: those that start at 11, 11.5 and 12 see both.
    assert schedule.num_windows == 7
    assert inside_windows(labelled) == [(0, "a"), (1, "a"), (5, "b"), (6, "b")]
    almost = (replace(truth[0], stop_seconds=12.4999995), replace(truth[1], start_seconds=12.5000005))
    assert len(inside_windows(replace(labelled, entry=replace(labelled.entry, segments=almost)))) == 4
    gap = (replace(truth[0], start_seconds=10.1, stop_seconds=12.4), truth[1])
    assert inside_windows(replace(labelled, entry=replace(labelled.entry, segments=gap))) == [(5, "b"), (6, "b")]


def test_the_last_window_is_judged_by_what_it_sees(tiny_clips: list[LabelledClip]) -> None:
    """The clip ends within its last hop, and so does the activity."""
    schedule = replace(tiny_clips[0].clip.schedule, span=Span(0.0, 2.3), num_hops=5)
    labelled = LabelledClip(
        replace(tiny_clips[0].entry, segments=(LabelledSegment(0.0, 2.3, "a"),)),
        replace(tiny_clips[0].clip, schedule=schedule),
    )
    assert inside_windows(labelled) == [(0, "a"), (1, "a")]


def test_kept_modalities_are_those_that_were_sent(tiny_clips: list[LabelledClip]) -> None:
    clip = tiny_clips[0].clip
    kept = keep_modalities(clip, ("audio", "text"))
    assert list(kept.masks) == ["audio", "text"]
    np.testing.assert_array_equal(kept.masks["audio"], clip.masks["audio"])
    assert {name: (status.used, status.code) for name, status in kept.modalities.items()} == {
        "video": (False, "not_sent"),
        "audio": (True, None),
        "text": (True, None),
    }
    assert kept.schedule == clip.schedule
    assert list(clip.masks) == ["video", "audio", "text"]  # the clip itself is as it was

    # What is left out cannot be seen: other frames give the same scores.
    scorer = make_pipeline().scorer
    assert clip.frames is not None
    other = replace(kept, frames=255 - clip.frames)
    np.testing.assert_array_equal(scorer.score(kept).scores, scorer.score(other).scores)
    assert np.abs(scorer.score(kept).scores - scorer.score(clip).scores).max() > 1e-4


def test_a_real_model_and_the_report(tiny_manifest: Path) -> None:
    calls: list[tuple[str, int, int]] = []
    result = evaluate(make_pipeline(), tiny_manifest, progress=lambda *call: calls.append(call))
    assert calls == [
        (step, done, 6) for step in ["decode", *(" + ".join(subset) for subset in SUBSETS)] for done in range(1, 7)
    ]
    written = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert list(written) == [
        "num_clips",
        "num_windows",
        "subsets",
        "f1",
        "edit",
        "mean_boundary_error_seconds",
        "calibration_error",
    ]
    assert [entry["modalities"] for entry in written["subsets"]] == [list(subset) for subset in SUBSETS]
    assert set(written["subsets"][0]) == {"modalities", "accuracy", "ceiling"}
    assert written["f1"] == result.f1
    assert all(0.0 <= entry["accuracy"] <= 1.0 for entry in written["subsets"])


def test_without_a_window_inside_an_activity_there_is_no_accuracy(tiny_manifest: Path) -> None:
    """Activities of 1.5 s, in windows of 2 s."""
    entries = []
    for entry in read_manifest(tiny_manifest):
        (first, _) = entry.segments
        entries.append(replace(entry, segments=(replace(first, stop_seconds=first.start_seconds + 1.5),)))
    manifest = tiny_manifest.with_name("short-activities.jsonl")
    write_manifest(manifest, entries)
    result = evaluate(make_pipeline(), manifest)
    assert result.num_windows == 0
    assert [subset.accuracy for subset in result.subsets] == [None] * 7
    assert result.calibration_error is None
    assert result.mean_boundary_error_seconds is None
    json.dumps(result.to_json(), allow_nan=False)


def test_a_model_of_one_modality_has_one_subset(tiny_manifest: Path) -> None:
    result = evaluate(make_pipeline(PLAIN.model_copy(update={"audio": None, "text": None})), tiny_manifest)
    assert [subset.modalities for subset in result.subsets] == [("video",)]


def test_what_cannot_be_measured(tiny_manifest: Path, tmp_path: Path) -> None:
    head = TINY.head.model_copy(update={"task": "multi_label"})
    with pytest.raises(SettingsError, match="the checkpoint's head is multi_label"):
        evaluate(make_pipeline(TINY.model_copy(update={"head": head})), tiny_manifest)
    with pytest.raises(SettingsError, match=r"labels that the model does not have: bounce_fall_leave\. Known labels"):
        evaluate(make_pipeline(TINY.model_copy(update={"labels": TINY.labels[:7]})), tiny_manifest)
    (tmp_path / "manifest.jsonl").write_text("{}\n", encoding="utf-8")
    with pytest.raises(ManifestError, match="missing key 'clip'"):
        evaluate(make_pipeline(), tmp_path / "manifest.jsonl")
