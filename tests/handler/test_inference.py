from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from handler import batching
from handler.clip import Clip, ModalityStatus
from handler.inference import HOPS_PER_BATCH, WINDOWS_PER_BATCH, ScoredWindows, Scorer
from handler.runtime import Runtime, choose_runtime
from handler.transform import Transforms
from handler.windows import Span, build_schedule
from models.config import HeadConfig, Modality, ModelConfig
from models.head import score_logits
from tests.models.tiny import TINY, tiny_model, tiny_tokenizer

WORDS = ("stir the soup", "", "chop the onion")


MODALITIES: tuple[Modality, ...] = ("video", "audio", "text")


def make_clip(num_hops: int, modalities: tuple[Modality, ...] = MODALITIES, seed: int = 0) -> Clip:
    """A clip of noise whose picture lacks its first hop and whose words come and go."""
    rng = np.random.default_rng(seed)
    texts = tuple(WORDS[hop // 3 % 3] for hop in range(num_hops))
    masks = {
        "video": np.arange(num_hops) > 0,
        "audio": np.ones(num_hops, dtype=np.bool_),
        "text": np.array([bool(text) for text in texts]),
    }
    return Clip(
        schedule=build_schedule(Span(0.0, num_hops * 0.5), TINY.windows),
        modalities={name: ModalityStatus(used=name in modalities) for name in MODALITIES},
        frames=rng.integers(0, 256, (num_hops, 2, 3, 16, 16), dtype=np.uint8) if "video" in modalities else None,
        samples=rng.normal(0, 0.1, (num_hops, 8240)).astype(np.float32) if "audio" in modalities else None,
        texts=texts if "text" in modalities else None,
        masks={name: masks[name] for name in modalities},
    )


def make_scorer(runtime: Runtime | None = None, config: ModelConfig = TINY, temperature: float = 1.0) -> Scorer:
    float32 = Runtime(torch.device("cpu"), torch.float32, threads=1)
    tokenizer = None if config.text is None else tiny_tokenizer()
    return Scorer(tiny_model(config), Transforms(config, tokenizer), runtime or float32, temperature=temperature)


def spied(scorer: Scorer) -> dict[str, list[Tensor]]:
    """What each encoder and the fusion are given, filled while the scorer runs."""
    seen: dict[str, list[Tensor]] = {name: [] for name in (*scorer.model.encoders, "fusion")}

    def spy(name: str) -> Callable[..., None]:
        return lambda _module, inputs: seen[name].append(inputs[0])

    for name, encoder in scorer.model.encoders.items():
        encoder.register_forward_pre_hook(spy(name))
    scorer.model.fusion.register_forward_pre_hook(lambda _module, inputs: seen["fusion"].append(inputs[1]["audio"]))
    return seen


def same(one: ScoredWindows, other: ScoredWindows) -> bool:
    return one.scores.tobytes() == other.scores.tobytes() and one.embeddings.tobytes() == other.embeddings.tobytes()


def reference_scores(clip: Clip, config: ModelConfig = TINY) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Each window encoded and fused on its own, without micro-batches."""
    model, transforms = tiny_model(config), Transforms(config, tiny_tokenizer())
    rows = []
    for window in range(clip.schedule.num_windows):
        hops = [min(window + place, clip.schedule.num_hops - 1) for place in range(clip.schedule.window_hops)]
        inside = np.arange(clip.schedule.window_hops) + window < clip.schedule.num_hops
        assert clip.frames is not None
        assert clip.samples is not None
        assert clip.texts is not None
        tokens: dict[Modality, Tensor] = {
            "video": model.encode("video", transforms.video(torch.from_numpy(clip.frames[hops]))),
            "audio": model.encode("audio", transforms.audio(torch.from_numpy(clip.samples[hops]))),
            "text": model.encode("text", *transforms.text([clip.texts[hop] for hop in hops])),
        }
        masks = {name: torch.from_numpy(clip.masks[name][hops] & inside)[None] for name in MODALITIES}
        logits = model({name: tensor[None] for name, tensor in tokens.items()}, masks).logits
        rows.append(score_logits(logits.detach(), config.head.task, 1.0)[0].numpy())
    return np.stack(rows)


@pytest.mark.parametrize("num_hops", [2, 4, 21])
def test_shared_hops_score_as_windows_encoded_on_their_own(num_hops: int) -> None:
    clip = make_clip(num_hops)
    scored = make_scorer().score(clip)
    assert scored.scores.shape == (clip.schedule.num_windows, 3)
    assert scored.embeddings.shape == (clip.schedule.num_windows, 3 * 16)
    np.testing.assert_allclose(scored.scores, reference_scores(clip), atol=1e-5, rtol=0)
    np.testing.assert_allclose(scored.scores.sum(axis=1), 1.0, atol=1e-12)


@pytest.mark.parametrize(("num_hops", "hop_rows", "window_rows"), [(1, 8, 16), (8, 8, 16), (9, 16, 16), (21, 24, 32)])
def test_each_hop_is_encoded_once_and_each_window_fused_once(num_hops: int, hop_rows: int, window_rows: int) -> None:
    scorer = make_scorer()
    seen = spied(scorer)
    scorer.score(make_clip(num_hops))
    assert sum(len(batch) for batch in seen["video"]) == hop_rows
    assert sum(len(batch) for batch in seen["audio"]) == hop_rows
    assert sum(len(batch) for batch in seen["fusion"]) == window_rows
    assert {len(batch) for batch in (*seen["video"], *seen["audio"], *seen["text"])} == {HOPS_PER_BATCH}
    assert {len(batch) for batch in seen["fusion"]} == {WINDOWS_PER_BATCH}


def test_an_encoder_says_how_many_hops_a_forward_takes_on_a_cpu() -> None:
    scorer = make_scorer()
    scorer.model.encoders["video"].hops_per_batch = 2  # type: ignore[assignment]  # no module
    seen = spied(scorer)
    scorer.score(make_clip(9))
    assert [len(batch) for batch in seen["video"]] == [2] * 5
    assert [len(batch) for batch in seen["audio"]] == [HOPS_PER_BATCH] * 2
    scorer.runtime = replace(scorer.runtime, device=torch.device("cuda"))
    assert scorer.hops_per_batch("video") == HOPS_PER_BATCH


def test_each_different_text_is_encoded_once() -> None:
    scorer = make_scorer()
    seen = spied(scorer)
    scorer.score(make_clip(40))  # three texts on forty hops
    assert [len(batch) for batch in seen["text"]] == [HOPS_PER_BATCH]
    assert len(seen["text"][0].unique(dim=0)) == 3


def test_absent_modalities_are_not_encoded() -> None:
    scorer = make_scorer()
    seen = spied(scorer)
    scored = scorer.score(make_clip(6, ("audio",)))
    assert seen["video"] == seen["text"] == []
    absent = scorer.model.fusion.get_parameter("absent.video").detach().numpy()
    np.testing.assert_array_equal(scored.embeddings[:, :16], np.tile(absent, (3, 1)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_scores_are_the_same_bits_however_many_threads_there_are(dtype: torch.dtype) -> None:
    clip = make_clip(37)
    runs = [
        make_scorer(replace(choose_runtime(threads=threads), dtype=dtype)).score(clip)
        for threads in (1, 2, 4)
        for _ in range(2)
    ]
    assert all(same(run, runs[0]) for run in runs)


def test_what_pads_a_micro_batch_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    clip = make_clip(21)
    honest = make_scorer().score(clip)

    def with_others(batch: Tensor, size: int) -> Tensor:
        return torch.cat((batch, batch[:1].expand(size - batch.shape[0], *batch.shape[1:])))

    monkeypatch.setattr(batching, "_padded", with_others)
    assert same(make_scorer().score(clip), honest)


def test_a_longer_clip_scores_its_first_windows_alike() -> None:
    longer = make_clip(30)
    assert longer.frames is not None
    assert longer.samples is not None
    assert longer.texts is not None
    shorter = replace(
        longer,
        schedule=build_schedule(Span(0.0, 5.5), TINY.windows),
        frames=longer.frames[:11],
        samples=longer.samples[:11],
        texts=longer.texts[:11],
        masks={name: mask[:11] for name, mask in longer.masks.items()},
    )
    scorer = make_scorer()
    assert scorer.score(shorter).scores.tobytes() == scorer.score(longer).scores[:8].tobytes()


def test_what_a_masked_hop_holds_changes_nothing() -> None:
    clip = make_clip(6)
    assert clip.frames is not None
    frames = clip.frames.copy()
    frames[0] = 255 - frames[0]  # the picture lacks hop 0
    scorer = make_scorer()
    assert same(scorer.score(replace(clip, frames=frames)), scorer.score(clip))
    frames[1] = 255 - frames[1]
    assert not same(scorer.score(replace(clip, frames=frames)), scorer.score(clip))


def test_the_temperature_divides_the_logits_of_both_tasks() -> None:
    clip = make_clip(4)
    single = make_scorer().score(clip).scores[0]
    cooled = make_scorer(temperature=2.0).score(clip).scores[0]
    np.testing.assert_allclose(cooled, np.sqrt(single) / np.sqrt(single).sum(), rtol=1e-12)
    multi_label = TINY.model_copy(update={"head": HeadConfig(hidden=16, task="multi_label")})
    scores = make_scorer(config=multi_label).score(clip).scores[0]
    odds = scores / (1 - scores)
    np.testing.assert_allclose(odds / odds.sum(), single, rtol=1e-6)  # the same weights: the same logits
    assert abs(scores.sum() - 1) > 1e-3


def test_a_mask_without_content_is_a_defect() -> None:
    with pytest.raises(ValueError, match="mask for audio but no content"):
        make_scorer().score(replace(make_clip(4), samples=None))


@pytest.mark.parametrize("kept", [("video",), ("audio", "text"), ("text", "video", "audio")])
def test_hops_encoded_once_serve_every_subset_of_the_modalities(kept: tuple[Modality, ...]) -> None:
    """To the bit what a clip without the other modalities is given, also where the clip itself lacks one."""
    scorer = make_scorer(temperature=1.3)
    for sent in (MODALITIES, ("audio", "text")):
        clip = make_clip(9, sent)
        encoded = scorer.encode(clip)
        alone = replace(clip, masks={name: mask for name, mask in clip.masks.items() if name in kept})
        assert same(scorer.fuse(encoded, kept), scorer.score(alone))
        assert same(scorer.fuse(encoded), scorer.score(clip))
        assert list(encoded.tokens) == list(clip.masks)


def test_a_subset_is_fused_without_encoding_again() -> None:
    scorer = make_scorer()
    encoded = scorer.encode(make_clip(9))
    seen = spied(scorer)
    scorer.fuse(encoded, ("audio",))
    assert {name: len(calls) for name, calls in seen.items()} == {"video": 0, "audio": 0, "text": 0, "fusion": 1}
