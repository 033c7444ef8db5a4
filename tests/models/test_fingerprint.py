from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import models.fingerprint
from models.checkpoint import Checkpoint, CheckpointDescription, load_checkpoint, save_checkpoint
from models.fingerprint import checkpoint_fingerprint
from models.tokenizer import train_tokenizer
from tests.models.tiny import TINY, tiny_model, tiny_tokenizer

DESCRIPTION = CheckpointDescription(name="tiny", version="0.1", config=TINY)


def made(seed: int = 0) -> Checkpoint:
    return Checkpoint(DESCRIPTION, tiny_model(seed=seed), tiny_tokenizer())


def test_it_is_the_same_wherever_the_checkpoint_is_loaded(tmp_path: Path) -> None:
    prints = [checkpoint_fingerprint(made())]
    for place in ("a", "b"):
        save_checkpoint(tmp_path / place, DESCRIPTION, tiny_model(), tiny_tokenizer())
        prints.append(checkpoint_fingerprint(load_checkpoint(tmp_path / place)))
    assert len(set(prints)) == 1
    assert len(bytes.fromhex(prints[0])) == 32


def described(checkpoint: Checkpoint) -> Checkpoint:
    return replace(checkpoint, description=DESCRIPTION.model_copy(update={"temperature": 1.5}))


def with_other_words(checkpoint: Checkpoint) -> Checkpoint:
    return replace(checkpoint, tokenizer=train_tokenizer(["fry the egg"] * 4, 64))


def with_label_words(checkpoint: Checkpoint) -> Checkpoint:
    return replace(checkpoint, label_tokenizers={"clip": tiny_tokenizer()})


def without_words(checkpoint: Checkpoint) -> Checkpoint:
    return replace(checkpoint, tokenizer=None)


def moved_by_a_bit(checkpoint: Checkpoint) -> Checkpoint:
    weight = next(iter(checkpoint.model.state_dict().values()))
    flat = weight.view(-1)
    flat[-1] = torch.nextafter(flat[-1], torch.tensor(2.0))
    return checkpoint


@pytest.mark.parametrize("change", [described, with_other_words, with_label_words, without_words, moved_by_a_bit])
def test_whatever_changes_an_answer_changes_it(change: Callable[[Checkpoint], Checkpoint]) -> None:
    assert checkpoint_fingerprint(change(made())) != checkpoint_fingerprint(made())


def test_trainings_of_one_configuration_differ() -> None:
    assert checkpoint_fingerprint(made(1)) != checkpoint_fingerprint(made())


def test_of_large_tensors_a_sample_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = models.fingerprint._sample
    values = torch.arange(10_000.0).reshape(100, 100)
    assert torch.equal(sample(values), values.reshape(-1))
    monkeypatch.setattr("models.fingerprint.WHOLE_VALUES", 9_999)
    monkeypatch.setattr("models.fingerprint.SAMPLED_VALUES", 1_000)
    assert torch.equal(sample(values), values.reshape(-1)[::10])
    assert torch.equal(sample(values.T), values.T.reshape(-1)[::10])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.bool, torch.int64, torch.uint8])
def test_tensors_of_any_kind_have_bytes(dtype: torch.dtype) -> None:
    checkpoint = made()
    checkpoint.model.register_buffer("extra", torch.tensor(1).to(dtype))
    one = checkpoint_fingerprint(checkpoint)
    checkpoint.model.register_buffer("extra", torch.tensor(0).to(dtype))
    assert checkpoint_fingerprint(checkpoint) != one
    checkpoint.model.register_buffer("extra", torch.zeros(0, dtype=dtype))
    assert checkpoint_fingerprint(checkpoint) != one
