"""Explanations: of the generated set, where the truth is known, and of small random models, where the sums are."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from handler.decode import decode_request
from handler.errors import InvalidOptions, LimitExceeded
from handler.explain.contributions import SubsetScores, score_subsets
from handler.explain.explanation import (
    MOMENTS_SHOWN,
    SegmentExplanation,
    WindowExplanation,
    check_explained,
    explain,
    score_encoded,
)
from handler.explain.occlusion import cut_parts, occlude_hops, occlude_parts
from handler.inference import EncodedClip, ScoredWindows
from handler.limits import Limits
from handler.options import RequestOptions, resolve_options, with_explanation
from handler.pipeline import ActivityPipeline
from handler.request import ActivityRequest, parse_request
from handler.runtime import choose_runtime
from handler.windows import Span
from models.config import ModelConfig
from models.fusion_config import LateConfig
from models.pretrained.resolve import resolve_pretrained
from models.pretrained.weights import quiet_transformers
from tests.handler.requests import tiny_checkpoint, tiny_pipeline
from tests.media import Picture, Sound, png, render
from tests.models.every import EVERY
from tests.models.tiny import TINY
from tests.pretrained_factory import tiny_clap, tiny_clip, tiny_videomae
from tests.zero_shot import assembled, noise, pipeline_of, recipe_values, wav
from training.synth.labels import ACTIVITIES, BIT_OF, BITS, LABELS, parse_label
from training.synth.phrases import SYNONYMS
from training.synth.render import RenderedClip, render_clip

DEMO = Path(__file__).parents[3] / "model-store" / "demo"
WORDS = "WEBVTT\n\n00:00.000 --> 00:01.500\nstir the soup\n\n00:01.500 --> 00:04.000\nchop the onion\n"


@pytest.fixture(scope="module")
def demo() -> ActivityPipeline:
    return ActivityPipeline.from_checkpoint(DEMO, runtime=choose_runtime(threads=1))


@pytest.fixture(scope="module")
def clips() -> list[RenderedClip]:
    return [render_clip(7, index) for index in range(3)]


def request_of(clip: RenderedClip, *, text: bool = True) -> ActivityRequest:
    words = clip.words if text else None
    options = RequestOptions(extras=("explanation",))
    return ActivityRequest(video=clip.video, audio=None, text=words, options=options)


def small_request(**options: Any) -> ActivityRequest:
    video = render("mp4", Picture(num_frames=90), Sound(seconds=3.6))
    return ActivityRequest(video=video, audio=None, text=WORDS, options=RequestOptions(**options))


def encode(pipeline: ActivityPipeline, request: ActivityRequest) -> EncodedClip:
    return pipeline.scorer.encode(decode_request(request, pipeline.config, Limits()))


def measure(pipeline: ActivityPipeline, request: ActivityRequest) -> tuple[EncodedClip, SubsetScores]:
    encoded, options = encode(pipeline, request), resolve_options(request.options, pipeline.config)

    def score(names: Collection[str]) -> NDArray[np.float64]:
        return score_encoded(pipeline.scorer, encoded, options, names).scores

    return encoded, score_subsets(tuple(encoded.tokens), score)


def credit_bits(pipeline: ActivityPipeline, clip: RenderedClip) -> Iterator[bool]:
    """Whether the right modality is credited: by window inside one activity, and label that is one bit away."""
    encoded, subsets = measure(pipeline, request_of(clip))
    for window in range(encoded.clip.schedule.num_windows):
        span = encoded.clip.schedule.window_span(window)
        for segment in clip.segments:
            if not segment.start_seconds <= span.start_seconds < span.stop_seconds <= segment.stop_seconds:
                continue
            scores = SubsetScores(subsets.names, {names: values[window] for names, values in subsets.scores.items()})
            activity = parse_label(segment.label)
            for bit in BITS:
                other = ACTIVITIES.index(replace(activity, **{bit: 1 - getattr(activity, bit)}))
                shapley = scores.contrast(LABELS, LABELS.index(segment.label), other).shapley
                yield BIT_OF[max(shapley, key=shapley.__getitem__)] == bit


def test_the_bit_that_separates_two_labels_is_credited_to_its_modality(
    demo: ActivityPipeline, clips: list[RenderedClip]
) -> None:
    credited = [is_right for clip in clips for is_right in credit_bits(demo, clip)]
    assert len(credited) > 100
    assert np.mean(credited) >= 0.95


def test_a_segments_contributions_add_up_to_its_score(demo: ActivityPipeline, clips: list[RenderedClip]) -> None:
    _, prediction = demo.examine(request_of(clips[0]))
    assert prediction.explanation is not None
    assert len(prediction.explanation.segments) == len(prediction.segments) > 0
    for segment, explained in zip(prediction.segments, prediction.explanation.segments, strict=True):
        found = explained.contributions
        assert found.label == segment.label
        assert found.score == pytest.approx(segment.score, abs=1e-9)
        assert found.base + sum(found.shapley.values()) == pytest.approx(segment.score, abs=1e-9)
        assert min(found.shapley.values()) > 0.1  # each modality carries a third of the label


def test_the_word_that_carries_the_phrase_weighs_most(demo: ActivityPipeline, clips: list[RenderedClip]) -> None:
    keys = {word for synonyms in SYNONYMS for phrase in synonyms for word in phrase.split()}
    heaviest = []
    for clip in clips:
        _, prediction = demo.examine(request_of(clip))
        assert prediction.explanation is not None
        heaviest += [segment.moments["text"][0] for segment in prediction.explanation.segments]
    sure = [moment for moment in heaviest if moment.weight > 0.5]
    assert len(sure) >= 3
    assert all(moment.words in keys for moment in sure)


def test_without_the_option_the_answer_is_the_same(demo: ActivityPipeline, clips: list[RenderedClip]) -> None:
    item = {"video": clips[0].video, "text": clips[0].words}
    asked = {**item, "options": '{"extras": ["explanation"]}'}
    plain, explained, again = demo.respond([item, asked, asked], ["a", "b", "c"])
    assert b"explanation" not in plain.body
    assert explained.body == again.body
    values = json.loads(explained.body)
    explanation = values.pop("explanation")
    assert json.loads(plain.body) == values
    window, segment = explanation["windows"][0], explanation["segments"][0]
    assert set(window) == {
        *("start_seconds", "stop_seconds", "label", "score", "base", "contributions", "against", "hops", "attention")
    }
    assert set(segment) == {*window, "moments"} - {"hops"}
    assert [len(window["hops"][name]) for name in ("video", "audio", "text")] == [4, 4, 4]
    assert np.shape(segment["attention"]["video"]["audio"]) == (4, 4)
    assert all(len(moments) <= MOMENTS_SHOWN for moments in segment["moments"].values())


def test_a_modality_that_was_not_sent_is_not_in_the_explanation(
    demo: ActivityPipeline, clips: list[RenderedClip]
) -> None:
    _, prediction = demo.examine(request_of(clips[0], text=False))
    assert prediction.explanation is not None
    found = prediction.explanation
    explained: list[WindowExplanation | SegmentExplanation] = [*found.windows, *found.segments]
    assert all(set(each.contributions.shapley) == {"video", "audio"} for each in explained)
    pairs = {("video", "audio"), ("audio", "video")}
    assert all(set(each.attention) == pairs for each in explained)


def test_a_hop_is_taken_away_as_a_mask_of_the_clip_would() -> None:
    pipeline = tiny_pipeline()
    encoded = encode(pipeline, small_request())
    columns, hops = [0, 2], encoded.clip.schedule.num_hops
    for alone in (False, True):
        found = occlude_hops(encoded, "audio", lambda it: pipeline.scorer.fuse(it).scores, columns, alone=alone)
        for window in range(encoded.clip.schedule.num_windows):
            for place in range(4):
                is_it = np.arange(hops) == window + place
                mask = encoded.clip.masks["audio"] & (is_it if alone else ~is_it)
                clip = replace(encoded.clip, masks={**encoded.clip.masks, "audio": mask})
                expected = pipeline.scorer.fuse(EncodedClip(clip, encoded.tokens)).scores[window, columns]
                np.testing.assert_allclose(found[window, place], expected, atol=1e-6)


@pytest.mark.parametrize("modality", ["video", "audio", "text"])
@pytest.mark.parametrize("hops", [4, 12])
def test_a_part_is_taken_away_as_from_the_clip_itself(modality: str, hops: int) -> None:
    """Also of a clip that is shorter than a window."""
    pipeline = tiny_pipeline(TINY.model_copy(update={"windows": TINY.windows.model_copy(update={"hops": hops})}))
    encoded = encode(pipeline, small_request())
    clip, hop = encoded.clip, 4
    parts = cut_parts(clip, pipeline.config, modality, hop)
    assert parts[0].is_whole
    found = occlude_parts(pipeline.scorer, encoded, modality, parts, lambda it: pipeline.scorer.fuse(it).scores)
    for part, scores in zip(parts, found, strict=True):
        same = [place == hop for place in range(clip.schedule.num_hops)]
        if modality == "text":
            assert clip.texts is not None
            same = [text == clip.texts[hop] for text in clip.texts]
            texts = tuple(str(part.content) if it else text for it, text in zip(same, clip.texts, strict=True))
            changed = replace(clip, texts=texts)
        else:
            name = {"video": "frames", "audio": "samples"}[modality]
            content = getattr(clip, name).copy()
            content[hop] = part.content
            changed = replace(clip, **{name: content})
        mask = clip.masks[modality] & np.array(same)
        expected = pipeline.scorer.score(replace(changed, masks={**clip.masks, modality: mask})).scores
        assert set(scores) == {w for w in range(clip.schedule.num_windows) if w <= hop < w + hops}
        for window, values in scores.items():
            np.testing.assert_allclose(values, expected[window], atol=1e-5)


def test_frames_parts_of_sound_and_words() -> None:
    pipeline = tiny_pipeline()
    clip = encode(pipeline, small_request()).clip
    _, first, second = cut_parts(clip, pipeline.config, "video", 1)
    assert clip.frames is not None
    np.testing.assert_array_equal(np.asarray(first.content), clip.frames[1][[1, 1]])
    np.testing.assert_array_equal(np.asarray(second.content), clip.frames[1][[0, 0]])
    assert (second.span.start_seconds, second.span.stop_seconds) == (0.75, 1.0)
    _, *sounds = cut_parts(clip, pipeline.config, "audio", 0)
    assert [part.span.stop_seconds for part in sounds] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert [int((np.asarray(part.content) == 0).sum()) >= 1600 for part in sounds] == [True] * 5
    _, *words = cut_parts(clip, pipeline.config, "text", 0)
    assert [(part.words, part.content) for part in words] == [
        ("stir", "the soup"),
        ("the", "stir soup"),
        ("soup", "stir the"),
    ]
    assert (words[0].span.start_seconds, words[0].span.stop_seconds) == (0.0, 1.5)


def test_a_fusion_without_attention_between_modalities_explains_the_rest() -> None:
    config: ModelConfig = TINY.model_copy(update={"fusion": LateConfig(heads=2)})
    pipeline = tiny_pipeline(config)
    request = small_request(stride_seconds=1.0, threshold=0.0)
    options = resolve_options(request.options, config)
    encoded = encode(pipeline, request)
    prediction = pipeline.decide(encoded.clip, score_encoded(pipeline.scorer, encoded, options), options)
    found = explain(pipeline.scorer, encoded, options, prediction.segments)
    assert len(found.windows) == 3  # windows 0, 2 and the last of 5
    assert all(not each.attention for each in found.windows)
    assert all(set(each.hops) == {"video", "audio", "text"} for each in found.windows)


def test_an_explanation_has_no_place_in_subtitles() -> None:
    assert with_explanation(RequestOptions(top_k=2, extras=("windows",))) == RequestOptions(
        top_k=2, extras=("windows", "explanation")
    )
    with pytest.raises(InvalidOptions, match="extras explanation need format json"):
        with_explanation(RequestOptions(format="vtt"))


def test_a_long_clip_is_not_explained() -> None:
    pipeline = ActivityPipeline(tiny_checkpoint(), limits=Limits(max_explained_seconds=3.0))
    pipeline.examine(small_request())
    with pytest.raises(LimitExceeded, match=r"the clip spans 3\.648 s, an explanation is limited to 3 s"):
        pipeline.examine(small_request(extras=("explanation",)))


@pytest.mark.parametrize(
    ("hops", "allowed_seconds"), [(1, 120.0), (4, 120.0), (8, 60.0), (16, 30.0), (40, 20.0), (400, 120.0)]
)
def test_the_longer_the_windows_the_shorter_the_clip(hops: int, allowed_seconds: float) -> None:
    schedule = decode_request(small_request(), TINY, Limits()).schedule
    for seconds, is_allowed in ((allowed_seconds, True), (allowed_seconds + 0.1, False)):
        made = replace(schedule, window_hops=hops, span=Span(0.0, seconds), num_hops=round(2 * seconds))
        with nullcontext() if is_allowed else pytest.raises(LimitExceeded):
            check_explained(made, Limits())


def test_long_windows_do_not_make_an_explanation_cost_their_square(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a clip of the longest allowed length, with windows of 4 hops and of 16."""
    scored = []
    for hops, num_hops in ((4, 240), (16, 60)):
        windows = TINY.windows.model_copy(update={"hops": hops})
        pipeline = tiny_pipeline(TINY.model_copy(update={"windows": windows}))
        counted: list[int] = []
        score = pipeline.scorer.fuse
        counter = partial(count_windows, score, counted)
        monkeypatch.setattr(pipeline.scorer, "fuse", counter)
        seconds = num_hops * windows.stride_seconds
        places = [f"{t // 60:02}:{t % 60:02}.000" for t in range(int(seconds) + 1)]
        words = "\n\n".join(f"{start} --> {stop}\n{start} stir it up" for start, stop in pairwise(places))
        raw = {"text": f"WEBVTT\n\n{words}\n", "options": {"extras": ["explanation"], "threshold": 0.0}}
        pipeline.examine(parse_request(raw, Limits(), ()))
        scored.append(sum(counted))
    assert scored[1] <= 0.75 * scored[0]


def count_windows(
    score: Callable[..., ScoredWindows], counted: list[int], encoded: EncodedClip, names: Any = None
) -> ScoredWindows:
    counted.append(encoded.clip.schedule.num_windows)
    return score(encoded, names)


def test_of_seven_modalities_only_what_has_times_has_hops() -> None:
    pipeline = tiny_pipeline(EVERY)
    times = (np.arange(40) / 20).tolist()
    raw = {
        "video": render("mp4", Picture(num_frames=50, width=32, height=32), Sound(seconds=2.0)),
        "text": WORDS,
        "image": png(24, 16),
        "tabular": {"guests": 120, "place": "hall"},
        "depth": render("matroska", Picture(codec="ffv1", width=32, height=32, num_frames=50, pix_fmt="gray")),
        "imu": {"seconds": times, "values": [[value, 1.0, -value] for value in times]},
        "options": {"extras": ["explanation"], "threshold": 0.0},
    }
    _, prediction = pipeline.examine(parse_request(raw, Limits(), pipeline.config.vectors))
    assert prediction.explanation is not None
    (segment, *_) = prediction.explanation.segments
    assert set(segment.contributions.shapley) == set(EVERY.modalities)
    total = segment.contributions.base + sum(segment.contributions.shapley.values())
    assert total == pytest.approx(segment.contributions.score, abs=1e-9)
    assert set(prediction.explanation.windows[0].hops) == {"video", "audio", "text", "depth", "imu"}


def test_an_encoder_that_sees_whole_windows(tmp_path: Path) -> None:
    with quiet_transformers():
        source = tiny_videomae(tmp_path / "videomae")
    section = {"encoder": "pretrained", "pretrained": {"source": str(source), "span": "window"}}
    values = TINY.model_dump() | {"video": section, "windows": {"stride_seconds": 0.5, "hops": 2}}
    pipeline = tiny_pipeline(resolve_pretrained(ModelConfig.read(values, source="test")))
    _, prediction = pipeline.examine(small_request(extras=("explanation",), threshold=0.0))
    assert prediction.explanation is not None
    window = prediction.explanation.windows[0]
    assert set(window.contributions.shapley) == {"video", "audio", "text"}
    assert set(window.hops) == {"audio", "text"}


def test_labels_of_the_requests_choice(tmp_path: Path) -> None:
    with quiet_transformers():
        values = recipe_values(image=tiny_clip(tmp_path / "clip"), audio=tiny_clap(tmp_path / "clap"))
    pipeline = pipeline_of(assembled(tmp_path / "both", values))
    parts = {"image": png(24, 16), "audio": bytes(wav(noise(1, seconds=2.0)))}
    asked = {"extras": ["explanation"], "labels": ["stir the soup", "pour milk"]}
    _, prediction = pipeline.examine(parse_request({**parts, "options": asked}, Limits()))
    assert prediction.explanation is not None
    found = prediction.explanation.windows[0].contributions
    assert found.base + sum(found.shapley.values()) == pytest.approx(found.score, abs=1e-9)
    assert set(found.shapley) == {"image", "audio"}
    assert prediction.explanation.windows[0].attention == {}
