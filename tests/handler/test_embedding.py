"""Each modality of a window embedded alone: against loops in float64, and against what training compares."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import AutoModel, AutoProcessor, AutoTokenizer

from handler.clip import Clip
from handler.decode import decode_request
from handler.embedding import Embedder, WindowEmbeddings
from handler.limits import Limits
from handler.request import parse_request
from handler.runtime import Runtime, choose_runtime
from models.checkpoint import load_checkpoint
from models.embedding_config import EmbeddingConfig
from models.pretrained.weights import quiet_transformers
from models.settings import SettingsError
from models.spaces import OWN_SPACE, spaces_of
from tests.handler.requests import tiny_checkpoint
from tests.handler.test_inference import MODALITIES, make_clip
from tests.models.pretrained.pictures import picture
from tests.models.tiny import TINY
from tests.pretrained_factory import tiny_clap, tiny_clip
from tests.zero_shot import LABELS, assembled, noise, png, recipe_values, wav

FLOAT32 = Runtime(torch.device("cpu"), torch.float32, threads=1)
TOWERS = TINY.model_copy(update={"embedding": EmbeddingConfig(width=12)})


def make_embedder(runtime: Runtime = FLOAT32) -> Embedder:
    return Embedder(tiny_checkpoint(TOWERS), runtime)


def reference(embedder: Embedder, clip: Clip, name: str) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """By loops over windows and hops, from the hops' tokens on, in float64."""
    tokens = embedder.scorer.encode(clip).tokens[name].double().numpy()
    weights = {key: value.double().numpy() for key, value in embedder.scorer.model.state_dict().items()}
    schedule = clip.schedule
    rows, present = [], []
    for window in range(schedule.num_windows):
        hops = [h for h in range(window, min(window + schedule.window_hops, schedule.num_hops)) if clip.masks[name][h]]
        present.append(bool(hops))
        if not hops:
            rows.append(np.zeros(12))
            continue
        pooled = np.mean([token for hop in hops for token in tokens[hop]], axis=0)
        normed = (pooled - pooled.mean()) / np.sqrt(pooled.var() + 1e-5)
        normed = normed * weights[f"embedding.norms.{name}.weight"] + weights[f"embedding.norms.{name}.bias"]
        projected = weights[f"embedding.projections.{name}.weight"] @ normed
        rows.append(projected / np.sqrt((projected**2).sum()))
    return np.array(rows), np.array(present)


@pytest.mark.parametrize("num_hops", [2, 4, 23])
def test_windows_are_the_projected_means_of_the_hops_that_have_the_modality(num_hops: int) -> None:
    embedder, clip = make_embedder(), make_clip(num_hops)
    embedded = embedder.embed_clip(clip)
    assert set(embedded) == set(MODALITIES)
    for name, windows in embedded.items():
        vectors, present = reference(embedder, clip, name)
        np.testing.assert_allclose(windows.vectors, vectors, rtol=0, atol=2e-6)
        assert windows.present.tolist() == present.tolist()
        np.testing.assert_allclose(np.linalg.norm(windows.vectors, axis=1), present.astype(float), atol=1e-6)


def test_a_modality_is_embedded_alone() -> None:
    embedder, clip = make_embedder(choose_runtime(threads=1)), make_clip(9)
    together = embedder.embed_clip(clip)
    for name in MODALITIES:
        alone = embedder.embed_clip(replace(clip, masks={name: clip.masks[name]}))
        assert list(alone) == [name]
        assert np.array_equal(alone[name].vectors, together[name].vectors)


def test_each_hop_is_encoded_once() -> None:
    embedder, clip = make_embedder(), make_clip(32)
    seen: list[int] = []
    embedder.scorer.model.encoders["video"].register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    embedder.embed_clip(clip)
    assert sum(seen) == 32


def test_a_text_is_where_a_window_of_these_words_is() -> None:
    embedder = make_embedder()
    clip = make_clip(6)
    spoken = replace(clip, texts=("chop the onion",) * 6, masks={"text": np.ones(6, dtype=np.bool_)})
    windows = embedder.embed_clip(spoken)["text"].vectors
    asked = embedder.embed_text(OWN_SPACE, ["stir the soup", "chop the onion", "stir the soup"])
    assert asked.dtype == np.float32
    np.testing.assert_allclose(windows, np.repeat(asked[1:2], len(windows), axis=0), rtol=0, atol=2e-6)
    assert np.array_equal(asked[0], asked[2])
    assert np.abs(asked[0] - asked[1]).max() > 0.01
    assert np.array_equal(embedder.embed_text(OWN_SPACE, ["chop the onion"])[0], asked[1])


def test_a_model_without_towers_embeds_nothing() -> None:
    assert spaces_of(TINY) == {}
    with pytest.raises(SettingsError, match="the model 'tiny' embeds nothing"):
        Embedder(tiny_checkpoint(), FLOAT32)


def test_only_a_space_with_words_takes_text() -> None:
    config = TINY.model_copy(update={"embedding": EmbeddingConfig(width=12, modalities=("video", "audio"))})
    embedder = Embedder(tiny_checkpoint(config), FLOAT32)
    assert set(embedder.embed_clip(make_clip(5))) == {"video", "audio"}
    assert [embedder.space_of(name) for name in MODALITIES] == [OWN_SPACE, OWN_SPACE, None]
    with pytest.raises(SettingsError, match=r"no text can be embedded into the space 'own' .*: none"):
        embedder.embed_text(OWN_SPACE, ["x"])
    with pytest.raises(SettingsError, match="the space 'clip' "):
        make_embedder().embed_text("clip", ["x"])


def test_vectors_and_what_is_there_must_fit() -> None:
    with pytest.raises(ValueError, match=r"needs \(W, E\) vectors"):
        WindowEmbeddings(np.zeros((2, 3), dtype=np.float32), np.ones(3, dtype=np.bool_))


def test_pretrained_towers_embed_as_the_library_does(tmp_path: Path) -> None:
    with quiet_transformers():
        clip, clap = tiny_clip(tmp_path / "clip"), tiny_clap(tmp_path / "clap")
    folder = assembled(tmp_path / "both", recipe_values(image=clip, audio=clap))
    embedder = Embedder(load_checkpoint(folder), FLOAT32)
    shown, samples = picture(40, 32, seed=3), noise(1)
    parts = {"image": png(shown), "audio": wav(samples)}
    request = parse_request(parts, Limits())
    embedded = embedder.embed_clip(decode_request(request, embedder.config, Limits()))
    assert {name: embedder.space_of(name) for name in embedded} == {"image": "sight", "audio": "sound"}
    with quiet_transformers(), torch.no_grad():
        model = AutoModel.from_pretrained(clip).eval()
        pixels = AutoProcessor.from_pretrained(clip).image_processor(shown, return_tensors="pt")
        texts = AutoTokenizer.from_pretrained(clip)(LABELS, return_tensors="pt", padding=True, truncation=True)
        output = model(**pixels, **texts)
    np.testing.assert_allclose(embedded["image"].vectors, output.image_embeds.numpy(), rtol=0, atol=1e-5)
    asked = embedder.embed_text("sight", LABELS)
    np.testing.assert_allclose(asked, output.text_embeds.numpy(), rtol=0, atol=1e-5)
    assert embedder.embed_text("sound", LABELS).shape[1] == embedded["audio"].vectors.shape[1]
