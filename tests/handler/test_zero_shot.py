from __future__ import annotations

import base64
import io
import json
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import AutoModel, AutoProcessor, AutoTokenizer
from transformers.utils import logging as transformers_logging

from handler.pipeline import ActivityPipeline
from handler.zero_shot import LabelEmbedder, ZeroShotScorer
from models.pretrained.weights import quiet_transformers
from models.settings import SettingsError
from tests.models.pretrained.pictures import picture
from tests.pretrained_factory import tiny_clap, tiny_clip, tiny_siglip
from tests.zero_shot import EXACT, LABELS, SAMPLE_RATE, assembled, noise, pipeline_of, png, recipe_values, wav
from training.dataset import check_truth, decode_entries
from training.evaluation.observe import observe
from training.manifest import ManifestEntry

PICTURE = picture(40, 32, seed=3)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    makers = {"clip": tiny_clip, "siglip": tiny_siglip, "clap": tiny_clap}
    with quiet_transformers():
        return {name: make(tmp_path_factory.mktemp(name)) for name, make in makers.items()}


@pytest.fixture(scope="module")
def both(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> ActivityPipeline:
    """Pictures by CLIP and sound by CLAP."""
    values = recipe_values(image=folders["clip"], audio=folders["clap"])
    return pipeline_of(assembled(tmp_path_factory.mktemp("both"), values))


def ask(pipeline: ActivityPipeline, parts: Mapping[str, Any], **options: Any) -> tuple[int, dict[str, Any]]:
    """Status and body of an answer."""
    (response,) = pipeline.respond([{**parts, "options": json.dumps(options).encode()}], ["1"])
    return response.status, json.loads(response.body)


def scores_of(pipeline: ActivityPipeline, parts: Mapping[str, Any], **options: Any) -> list[dict[str, float]]:
    """The scores of each window."""
    status, body = ask(pipeline, parts, extras=["windows"], **options)
    assert status == 200, body
    return [window["scores"] for window in body["windows"]]


def library_scores(folder: Path, sentences: list[str], pixels: Any = None, samples: Any = None) -> Tensor:
    """What the library's own classes say: ``(1, K)``."""
    with quiet_transformers(), torch.no_grad():
        model = AutoModel.from_pretrained(folder).eval()
        kind = model.config.model_type
        tokenizer = AutoTokenizer.from_pretrained(folder)
        fill = {"padding": "max_length", "max_length": 12} if kind == "siglip" else {"padding": True}
        texts = tokenizer(sentences, return_tensors="pt", truncation=True, **fill)
        processor = AutoProcessor.from_pretrained(folder)
        if samples is not None:
            features = processor.feature_extractor(samples, sampling_rate=SAMPLE_RATE, return_tensors="pt")
            heard: Tensor = model(**texts, **features).logits_per_audio
            return heard.softmax(dim=-1)
        image = getattr(processor, "image_processor", processor)(pixels, return_tensors="pt")
        logits: Tensor = model(**texts, **image).logits_per_image
        return logits.sigmoid() if kind == "siglip" else logits.softmax(dim=-1)


@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_a_picture_s_scores_are_the_library_s(folders: dict[str, Path], name: str, tmp_path: Path) -> None:
    pipeline = pipeline_of(assembled(tmp_path, recipe_values(image=folders[name])))
    (scores,) = scores_of(pipeline, {"image": png(PICTURE)}, labels=LABELS)
    expected = library_scores(folders[name], LABELS, pixels=PICTURE)
    assert list(scores) == LABELS
    np.testing.assert_allclose(list(scores.values()), expected[0], atol=1e-5)


def test_a_sound_s_scores_are_the_library_s(both: ActivityPipeline, folders: dict[str, Path]) -> None:
    (scores,) = scores_of(both, {"audio": wav(noise(1))}, labels=LABELS)
    np.testing.assert_allclose(
        list(scores.values()), library_scores(folders["clap"], LABELS, samples=noise(1))[0], atol=1e-5
    )


def test_modalities_are_averaged_by_their_weights(both: ActivityPipeline, folders: dict[str, Path]) -> None:
    parts = {"image": png(PICTURE), "audio": wav(noise(1))}
    seen = library_scores(folders["clip"], LABELS, pixels=PICTURE)[0]
    heard = library_scores(folders["clap"], LABELS, samples=noise(1))[0]
    (even,) = scores_of(both, parts, labels=LABELS)
    (uneven,) = scores_of(both, parts, labels=LABELS, weights={"audio": 3.0})
    np.testing.assert_allclose(list(even.values()), (seen + heard) / 2, atol=1e-5)
    np.testing.assert_allclose(list(uneven.values()), (seen + 3 * heard) / 4, atol=1e-5)


def test_templates_are_averaged_as_clip_does(both: ActivityPipeline, folders: dict[str, Path]) -> None:
    templates = ["a {} in the pan", "slowly {}", "{}"]
    (scores,) = scores_of(both, {"image": png(PICTURE)}, labels=LABELS, templates={"sight": templates})
    with quiet_transformers(), torch.no_grad():
        model = AutoModel.from_pretrained(folders["clip"]).eval()
        processor = AutoProcessor.from_pretrained(folders["clip"])
        image = model.get_image_features(**processor(images=PICTURE, return_tensors="pt")).pooler_output
        weights = []
        for label in LABELS:  # the zero-shot classifier of the paper's own notebook
            sentences = [template.replace("{}", label) for template in templates]
            texts = processor(text=sentences, return_tensors="pt", padding=True, truncation=True)
            embedded = model.get_text_features(**texts).pooler_output
            embedded = (embedded / embedded.norm(dim=-1, keepdim=True)).mean(dim=0)
            weights.append(embedded / embedded.norm())
        image = image / image.norm(dim=-1, keepdim=True)
        expected = (model.logit_scale.exp() * image @ torch.stack(weights).T).softmax(dim=-1)
    np.testing.assert_allclose(list(scores.values()), expected[0], atol=1e-5)


def test_a_window_is_the_mean_of_its_hops(folders: dict[str, Path], tmp_path: Path) -> None:
    values = recipe_values(audio=folders["clap"])
    values["model"]["windows"] = {"stride_seconds": 1.0, "hops": 2}
    pipeline = pipeline_of(assembled(tmp_path, values))
    sound = noise(2, seconds=3.0)
    scores = scores_of(pipeline, {"audio": wav(sound)}, labels=LABELS)
    with quiet_transformers(), torch.no_grad():
        model = AutoModel.from_pretrained(folders["clap"]).eval()
        processor = AutoProcessor.from_pretrained(folders["clap"])
        texts = processor(text=LABELS, return_tensors="pt", padding=True, truncation=True)
        words = model.get_text_features(**texts).pooler_output
        hops = [sound[start : start + SAMPLE_RATE] for start in range(0, len(sound), SAMPLE_RATE)]
        features = processor(audio=hops, sampling_rate=SAMPLE_RATE, return_tensors="pt")
        heard = model.get_audio_features(**features).pooler_output
        windows = (heard[:-1] + heard[1:]) / 2
        windows = windows / windows.norm(dim=-1, keepdim=True)
        expected = (model.logit_scale_a.exp() * windows @ words.T).softmax(dim=-1)
    assert len(scores) == 2
    np.testing.assert_allclose([list(window.values()) for window in scores], expected, atol=1e-5)


def test_none_of_these_wins_exactly_where_no_cosine_reaches_the_threshold(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    parts = {"image": png(PICTURE)}
    plain = pipeline_of(assembled(tmp_path / "plain", recipe_values(image=folders["clip"])))
    scorer = plain.scorer
    assert isinstance(scorer, ZeroShotScorer)
    status, body = ask(plain, parts, labels=LABELS, extras=["embedding"])
    assert status == 200
    best = float((scorer.embedder.embed("sight", LABELS) @ torch.tensor(body["embedding"])).max())
    for threshold, has_none in ((best - 1e-3, False), (best + 1e-3, True)):
        values = recipe_values(
            image=folders["clip"], none_label="nothing", spaces={"sight": {"none_threshold": threshold}}
        )
        pipeline = pipeline_of(assembled(tmp_path / str(has_none), values))
        status, body = ask(pipeline, parts, labels=LABELS)
        assert (body["activities"][0]["label"] == "nothing") == has_none
        assert {activity["label"] for activity in body["activities"]} == {*LABELS, "nothing"}
        assert ask(pipeline, parts, labels=["nothing", "soup"])[0] == 400
        status, body = ask(pipeline, parts, labels=LABELS, exclude_labels=["nothing"])
        assert "nothing" not in {activity["label"] for activity in body["activities"]}


def test_the_archive_s_labels_stand_where_none_are_sent(folders: dict[str, Path], tmp_path: Path) -> None:
    pipeline = pipeline_of(assembled(tmp_path, recipe_values(image=folders["clip"], labels=["pour milk", "stir"])))
    assert list(scores_of(pipeline, {"image": png(PICTURE)})[0]) == ["pour milk", "stir"]
    assert list(scores_of(pipeline, {"image": png(PICTURE)}, labels=["an onion", "soup"])[0]) == ["an onion", "soup"]


def test_one_label_alone_is_enough_where_each_is_judged_for_itself(folders: dict[str, Path], tmp_path: Path) -> None:
    pipeline = pipeline_of(assembled(tmp_path, recipe_values(image=folders["siglip"])))
    (scores,) = scores_of(pipeline, {"image": png(PICTURE)}, labels=["an onion"])
    assert 0.0 < scores["an onion"] < 1.0


def test_a_checkpoint_loads_without_the_library_s_remarks(folders: dict[str, Path], tmp_path: Path) -> None:
    checkpoint = assembled(tmp_path, recipe_values(image=folders["siglip"]))
    remarks = io.StringIO()
    handler = logging.StreamHandler(remarks)
    transformers_logging.warning_once.cache_clear()  # of what was said before
    logging.getLogger("transformers").addHandler(handler)
    try:
        pipeline_of(checkpoint)  # SigLIP's configuration names tokens that its vocabulary does not have
    finally:
        logging.getLogger("transformers").removeHandler(handler)
    assert remarks.getvalue() == ""


def test_labels_are_compared_and_answered_cleaned(both: ActivityPipeline) -> None:
    decomposed = "cafe\u0301  au\n lait"
    labels = [decomposed, "soup"]
    status, body = ask(both, {"image": png(PICTURE)}, labels=labels, include_labels=[decomposed])
    assert status == 200
    assert [activity["label"] for activity in body["activities"]] == ["caf\u00e9 au lait"]
    status, body = ask(both, {"image": png(PICTURE)}, labels=[decomposed, "caf\u00e9 au lait"])
    assert (status, body["code"]) == (400, "invalid_options")
    assert "unique" in body["message"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "no labels of its own and none were sent"),
        ({"labels": []}, "labels"),
        ({"labels": ["a", " a "]}, "unique"),
        ({"labels": ["  "]}, "blank"),
        ({"labels": ["a\x00b"]}, "control"),
        ({"labels": ["\ud800"]}, "Unicode"),
        ({"labels": ["x" * 201]}, "200"),
        ({"labels": [f"label {number}" for number in range(101)]}, "at most 100"),
        ({"labels": "soup"}, "labels"),
        ({"labels": ["a"], "templates": []}, "templates"),
        ({"labels": ["a"], "templates": ["no place"]}, "exactly one {}"),
        ({"labels": ["a"], "templates": ["{} and {}"]}, "exactly one {}"),
        ({"labels": ["a"], "templates": {"smell": ["{}"]}}, "unknown space 'smell' (known spaces: sight, sound)"),
        ({"labels": [f"label {number}" for number in range(60)], "templates": ["{}"] * 20}, "1200"),
        ({"labels": ["a"], "weights": {"smell": 1.0}}, "unknown modality 'smell'"),
        ({"labels": ["a"], "weights": {"audio": 0.0}}, "weights"),
        ({"labels": ["a", "c"], "include_labels": ["b"]}, "unknown label 'b' (known labels: a, c)"),
        ({"labels": ["a"]}, "one label alone would always score 1 here, as the scores of sight, sound share out 1"),
    ],
)
def test_bad_labels_are_said(both: ActivityPipeline, options: dict[str, Any], message: str) -> None:
    status, body = ask(both, {"image": png(PICTURE)}, **options)
    assert (status, body["code"]) == (400, "invalid_options")
    assert message.lower() in body["message"].lower()
    assert body["remedy"]


anything = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
labels_or_not = st.lists(st.text(st.characters(categories=None), max_size=12), max_size=6) | anything


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(labels=labels_or_not, templates=st.lists(st.text("{} ab", max_size=8), max_size=3) | anything, weights=anything)
def test_whatever_is_asked_is_never_a_defect(both: ActivityPipeline, labels: Any, templates: Any, weights: Any) -> None:
    options = {"labels": labels, "templates": templates, "weights": weights}
    status, _ = ask(both, {"image": png(PICTURE)}, **options)
    assert status in (200, 400)


def test_each_text_is_embedded_once_and_forgotten_in_the_end(both: ActivityPipeline) -> None:
    scorer = both.scorer
    assert isinstance(scorer, ZeroShotScorer)
    runs: list[Tensor] = []
    tower = scorer.model.tower("sight")
    handle = tower.register_forward_hook(lambda _, inputs, __: runs.append(inputs[0]))
    embedder = LabelEmbedder(scorer.model, scorer.embedder.tokenizers, EXACT, max_kept=2)
    first = embedder.embed("sight", ["a", "b", "a"])
    assert len(runs) == 2
    assert torch.equal(embedder.embed("sight", ["b", "a"]), first[1:])
    assert len(runs) == 2
    embedder.embed("sound", ["a"])  # another space, another embedding; "b" was asked for longest ago
    assert torch.equal(embedder.embed("sight", ["a"])[0], first[0])
    assert len(runs) == 2
    embedder.embed("sight", ["b"])
    assert len(runs) == 3
    handle.remove()


def test_many_threads_may_ask_at_once(both: ActivityPipeline) -> None:
    scorer = both.scorer
    assert isinstance(scorer, ZeroShotScorer)
    expected = scorer.embedder.embed("sight", LABELS)
    embedder = LabelEmbedder(scorer.model, scorer.embedder.tokenizers, EXACT, max_kept=1)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: embedder.embed("sight", LABELS), range(32)))
    assert all(torch.equal(each, expected) for each in found)


def test_parts_and_json_give_the_same_bytes(both: ActivityPipeline) -> None:
    options = {"labels": LABELS, "templates": ["a {}"]}
    body = {"image": base64.b64encode(png(PICTURE)).decode("ascii"), "options": options}
    (response,) = both.respond([{"body": body}], ["1"])
    assert response.status == 200
    assert response.body == pipeline_bytes(both, {"image": png(PICTURE)}, **options)


def test_the_archive_s_own_labels_can_be_evaluated(folders: dict[str, Path], tmp_path: Path) -> None:
    values = recipe_values(
        image=folders["clip"], labels=LABELS, none_label="nothing", spaces={"sight": {"none_threshold": 0.9}}
    )
    pipeline = pipeline_of(assembled(tmp_path / "made", values))
    (tmp_path / "picture.png").write_bytes(png(PICTURE))
    entry = ManifestEntry(None, None, None, (), image=tmp_path / "picture.png", label=LABELS[0])
    (observation,) = observe(pipeline, decode_entries([entry], pipeline.config, jobs=1))
    expected = library_scores(folders["clip"], LABELS, pixels=PICTURE)
    np.testing.assert_allclose(observation.scores[("image",)], expected, atol=1e-5)
    with pytest.raises(SettingsError, match="the model has no labels of its own"):
        check_truth([entry], pipeline.config.model_copy(update={"labels": ()}))


def test_an_answer_does_not_depend_on_what_else_was_asked_before(both: ActivityPipeline) -> None:
    parts = {"image": png(PICTURE), "audio": wav(noise(1))}
    alone = pipeline_bytes(both, parts, labels=["soup", "milk"])
    pipeline_bytes(both, parts, labels=["soup of the onion in the pan slowly", "milk"])
    assert pipeline_bytes(both, parts, labels=["soup", "milk"]) == alone


def pipeline_bytes(pipeline: ActivityPipeline, parts: Mapping[str, Any], **options: Any) -> bytes:
    (response,) = pipeline.respond([{**parts, "options": json.dumps(options).encode()}], ["1"])
    return response.body
