"""SpecAugment and the change of speed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from training.augment.config import AudioAugmentation
from training.augment.spectrogram import BLANK, augment_spectrogram, draw_spans

HOPS, BINS, FRAMES = 4, 6, 5


def make_runs(num_runs: int = 8) -> tuple[Tensor, Tensor]:
    """Values that nowhere are blank; hops of the odd runs end early."""
    torch.manual_seed(0)
    masks = torch.ones(num_runs, HOPS, dtype=torch.bool)
    masks[1::2, 3:] = False
    return torch.rand(num_runs, HOPS, BINS, FRAMES, dtype=torch.float64) + 1.0, masks


def augment(log_mel: Tensor, masks: Tensor, **settings: Any) -> Tensor:
    return augment_spectrogram(log_mel, masks, AudioAugmentation.model_validate(settings))


def whole(log_mel: Tensor) -> Tensor:
    """``(C, F, R * M)``."""
    return log_mel.transpose(1, 2).flatten(2)


def test_spans_have_every_width_up_to_the_longest_and_every_place() -> None:
    torch.manual_seed(0)
    spans = draw_spans(2000, 10, 1, 3, torch.device("cpu"))
    widths = spans.sum(dim=1)
    assert torch.bincount(widths).div(2000).tolist() == pytest.approx([0.25] * 4, abs=0.04)
    edges = spans.int().diff(dim=1, prepend=torch.zeros(2000, 1, dtype=torch.int32))
    assert ((edges == 1).sum(dim=1) == (widths > 0)).all()  # one piece
    starts = edges.argmax(dim=1)[widths == 3]
    assert torch.bincount(starts, minlength=8).div(len(starts)).tolist() == pytest.approx([1 / 8] * 8, abs=0.05)
    assert draw_spans(500, 4, 2, 99, torch.device("cpu")).all(dim=1).any()  # wider than there is room


def test_time_masks_blank_whole_columns_and_frequency_masks_whole_rows() -> None:
    log_mel, masks = make_runs(60)
    blank = whole(augment(log_mel, torch.ones_like(masks), time_masks=1, time_mask_frames=7)) == BLANK
    assert blank.all(dim=1).equal(blank.any(dim=1))
    assert set(blank.any(dim=1).sum(dim=1).tolist()) == set(range(8))  # across hops: 7 frames are more than one has
    blank = whole(augment(log_mel, torch.ones_like(masks), frequency_masks=1, frequency_mask_bins=2)) == BLANK
    assert blank.all(dim=2).equal(blank.any(dim=2))
    assert set(blank.any(dim=2).sum(dim=1).tolist()) == {0, 1, 2}


def test_only_hops_that_are_there_change_and_outside_of_the_masks_nothing_does() -> None:
    log_mel, masks = make_runs()
    found = augment(log_mel, masks, time_masks=2, frequency_masks=2, frequency_mask_bins=3)
    assert found[~masks].equal(log_mel[~masks])
    assert ((found == log_mel) | (found == BLANK)).all()
    assert (found == BLANK).any()


@pytest.mark.parametrize("speed", [0.7, 1.0, 1.3])
def test_a_stretch_reads_the_run_around_its_centre(speed: float) -> None:
    log_mel, masks = make_runs()
    masks[2] = torch.tensor([True, False, True, True])
    found = augment(log_mel, masks, stretch=[speed, speed])
    for row in range(8):
        length = int(masks[row].sum()) * FRAMES
        expected = whole(log_mel[[row]])[0].numpy().copy()
        if row != 2:  # which has a gap
            times = np.arange(length)
            source = (length - 1) / 2 + (times - (length - 1) / 2) * speed
            expected[:, :length] = [np.interp(source, times, values[:length]) for values in expected]
        np.testing.assert_allclose(whole(found[[row]])[0].numpy(), expected, rtol=0, atol=1e-6)
    if speed == 1.0:
        assert found.equal(log_mel)


def test_the_dtype_is_kept() -> None:
    log_mel, masks = make_runs()
    found = augment(log_mel.float(), masks, stretch=[0.9, 1.1], time_masks=1, frequency_masks=1)
    assert found.dtype == torch.float32
    assert found.shape == log_mel.shape
