from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from handler.decode import decode_request
from handler.embedding import Embedder
from handler.limits import Limits
from handler.options import RequestOptions
from handler.request import ActivityRequest
from models.checkpoint import load_checkpoint
from models.pretrained.weights import quiet_transformers
from models.settings import SettingsError
from tests.cli.checkpoints import write_tiny_checkpoint
from tests.models.pretrained.pictures import picture
from tests.pretrained_factory import tiny_clap, tiny_clip
from tests.zero_shot import EXACT, assembled, noise, pipeline_of, png, recipe_values, wav
from training.fit import FUSED, FitResult, fit
from training.manifest import LabelledSegment, ManifestEntry
from training.probe import Probe


def colour(label: str, seed: int) -> NDArray[np.uint8]:
    """A picture ``(3, H, W)`` of one colour with a little noise."""
    tint = {"red": (200, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 200)}[label]
    return (np.array(tint)[:, None, None] + picture(40, 32, seed=seed) // 8).astype(np.uint8)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures by CLIP and sound by CLAP."""
    with quiet_transformers():
        folders = {
            "image": tiny_clip(tmp_path_factory.mktemp("clip")),
            "audio": tiny_clap(tmp_path_factory.mktemp("clap")),
        }
    values = recipe_values(
        **folders,
        none_label="nothing",
        weights={"audio": 0.25},
        spaces={
            "sight": {"none_threshold": 0.1},
            "sound": {"none_threshold": 0.1},
        },
    )
    return assembled(tmp_path_factory.mktemp("base"), values)


def entries(folder: Path, *, clips: int, with_sound: tuple[str, ...] = (), split: Any = None) -> list[ManifestEntry]:
    """So many pictures of each of three colours, with a sound where it is asked for."""
    made = []
    for number in range(clips):
        for label in ("red", "green", "blue"):
            image = folder / f"{label}-{number}.png"
            image.write_bytes(png(colour(label, number)))
            audio = None
            if label in with_sound:
                audio = folder / f"{label}-{number}.wav"
                audio.write_bytes(wav(noise(number)))
            made.append(ManifestEntry(None, None, audio, (), split=split, image=image, label=label))
    return made


def run(base: Path, given: list[ManifestEntry], output: Path) -> FitResult:
    return fit(base, given, output, command="activity fit", runtime=EXACT)


def test_a_few_clips_of_a_label_teach_it(base: Path, tmp_path: Path) -> None:
    given = entries(tmp_path, clips=3, with_sound=("red", "green"))
    result = run(base, given, tmp_path / "fitted")
    assert [(it.label, it.clips, it.windows, it.accuracy) for it in result.labels] == [
        ("red", 3, 3, 1.0),
        ("green", 3, 3, 1.0),
        ("blue", 3, 3, 1.0),
    ]
    assert result.accuracy == pytest.approx(1.0)
    assert set(result.strengths) == {"image"}
    assert result.left_out == ("audio",)
    description = load_checkpoint(result.checkpoint).description
    assert description.config.zero_shot is not None
    assert description.config.zero_shot.probes == ("image",)
    assert description.config.zero_shot.none_label is None
    assert description.metrics == {"held_out_accuracy": 1.0}
    assert description.training["clips"] == {"red": 3, "green": 3, "blue": 3}
    served = pipeline_of(result.checkpoint)
    for label in ("red", "green", "blue"):
        (response,) = served.respond([{"image": png(colour(label, 99))}], ["1"])
        assert json.loads(response.body)["activities"][0]["label"] == label
    options = json.dumps({"labels": ["red", "white"]}).encode()
    (response,) = served.respond([{"image": png(colour("red", 99)), "options": options}], ["1"])
    assert response.status == 400
    assert b"labels are fixed" in response.body


def test_what_says_nothing_of_the_labels_is_not_said_to_be_used(base: Path, tmp_path: Path) -> None:
    result = run(base, entries(tmp_path, clips=2, with_sound=("red",)), tmp_path / "fitted")
    served = pipeline_of(result.checkpoint)
    (response,) = served.respond([{"audio": wav(noise(1))}], ["1"])
    assert (response.status, json.loads(response.body)["modalities"]["audio"]["code"]) == (422, "not_in_model")
    both = {"audio": wav(noise(1)), "image": png(colour("red", 9))}
    (response,) = served.respond([both], ["1"])
    assert json.loads(response.body)["modalities"]["audio"]["code"] == "not_in_model"
    assert {path.name for path in result.checkpoint.iterdir()} == {
        "model.json",
        "model.safetensors",
        "tokenizer-sight.json",
    }
    names, before = load_file(result.checkpoint / "model.safetensors"), load_file(base / "model.safetensors")
    assert not any(name.startswith(("encoders.audio.", "towers.sound.")) for name in names)
    kept = [name for name in names if not name.startswith("head.")]
    assert all(torch.equal(names[name], before[name]) for name in kept)


def test_what_is_served_is_what_was_fitted(base: Path, tmp_path: Path) -> None:
    given = entries(tmp_path, clips=2, with_sound=("red", "green", "blue"))
    result = run(base, given, tmp_path / "fitted")
    assert set(result.strengths) == {"image", "audio"}
    checkpoint = load_checkpoint(result.checkpoint)
    saved = load_file(result.checkpoint / "model.safetensors")
    request = ActivityRequest(None, bytes(wav(noise(7))), None, RequestOptions(), image=bytes(png(colour("red", 7))))
    clip = decode_request(request, checkpoint.description.config, Limits())
    embedded = Embedder(checkpoint, EXACT).embed_clip(clip)
    softmax = {
        name: Probe(saved[f"head.{name}.weight"].double(), saved[f"head.{name}.bias"].double()).score(
            torch.from_numpy(embedded[name].vectors)
        )
        for name in ("image", "audio")
    }
    expected = (softmax["image"] + 0.25 * softmax["audio"]) / 1.25
    found = pipeline_of(result.checkpoint).scorer.score(clip).scores
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-6)


def test_one_clip_a_label_fits_and_validates_nothing(base: Path, tmp_path: Path) -> None:
    given = [*entries(tmp_path, clips=1), *entries(tmp_path, clips=2, split="test")]
    embedded: list[tuple[int, int]] = []
    result = fit(
        base, given, tmp_path / "fitted", command="c", runtime=EXACT, embedded=lambda i, n: embedded.append((i, n))
    )
    assert embedded == [(1, 3), (2, 3), (3, 3)]
    assert result.accuracy is None
    assert [(it.clips, it.accuracy) for it in result.labels] == [(1, None)] * 3
    assert load_checkpoint(result.checkpoint).description.metrics == {}


def test_clips_of_one_group_are_left_out_together(base: Path, tmp_path: Path) -> None:
    given = [replace(entry, group=entry.label) for entry in entries(tmp_path, clips=2)]
    assert run(base, given, tmp_path / "fitted").accuracy is None


def test_a_fitted_checkpoint_can_be_fitted_again(base: Path, tmp_path: Path) -> None:
    first = run(base, entries(tmp_path, clips=1), tmp_path / "first")
    second = run(first.checkpoint, entries(tmp_path, clips=2), tmp_path / "second")
    assert second.accuracy == pytest.approx(1.0)


def test_a_clip_of_several_labels_counts_once(base: Path, tmp_path: Path) -> None:
    sound = tmp_path / "sound.wav"
    sound.write_bytes(wav(noise(1, seconds=4.0)))
    halves = (LabelledSegment(0.0, 2.0, "red"), LabelledSegment(2.0, 4.0, "green"))
    result = run(base, [ManifestEntry(None, None, sound, halves)], tmp_path / "fitted")
    assert [(it.label, it.clips) for it in result.labels] == [("red", 1), ("green", 1)]
    assert result.clips == 1


def test_a_trained_model_gets_a_new_head(tmp_path: Path) -> None:
    trained = write_tiny_checkpoint(tmp_path / "trained")
    audio = []
    for number in range(4):
        label = ("quiet", "loud")[number % 2]
        path = tmp_path / f"{number}.wav"
        path.write_bytes(wav(noise(number, seconds=3.0) * (0.02 if label == "quiet" else 1.0)))
        audio.append(ManifestEntry(None, None, path, (), label=label))
    result = run(trained, audio, tmp_path / "fitted")
    assert set(result.strengths) == {FUSED}
    checkpoint, before = load_checkpoint(result.checkpoint), load_checkpoint(trained)
    assert checkpoint.description.config.labels == ("quiet", "loud")
    assert checkpoint.description.config.head.hidden is None
    assert [tuple(it.shape) for it in checkpoint.model.head.parameters()] == [(2, 48), (2,)]
    for name, tensor in before.model.encoders.state_dict().items():
        assert torch.equal(checkpoint.model.encoders.state_dict()[name], tensor)
    for entry in audio:
        assert entry.audio is not None
        (response,) = pipeline_of(result.checkpoint).respond([{"audio": bytearray(entry.audio.read_bytes())}], ["1"])
        assert json.loads(response.body)["activities"][0]["label"] == entry.label


def test_what_cannot_be_fitted_is_said(base: Path, tmp_path: Path) -> None:
    given = entries(tmp_path, clips=1)
    with pytest.raises(SettingsError, match="the manifest has 1 labels, two at least"):
        run(base, [given[0]], tmp_path / "fitted")
    words = tmp_path / "words.txt"
    words.write_text("words alone")
    sound = tmp_path / "sound.wav"
    sound.write_bytes(wav(noise(1)))
    alone = ManifestEntry(None, None, sound, (), label="purple")
    with pytest.raises(SettingsError, match="no modality of the model has a labelled window of each label"):
        run(base, [*given, alone], tmp_path / "fitted")
