"""SpecAugment and the change of speed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from models.encoder_config import AudioConfig
from training.augment.config import AudioAugmentation
from training.augment.spectrogram import BLANK, augment_spectrogram, draw_spans

HOPS, BINS, FRAMES = 4, 6, 5
AUDIO = AudioConfig(mean=-9.0, std=3.0)


def make_runs(num_runs: int = 8) -> tuple[Tensor, Tensor]:
    """Values that nowhere are blank; hops of the odd runs end early."""
    torch.manual_seed(0)
    masks = torch.ones(num_runs, HOPS, dtype=torch.bool)
    masks[1::2, 3:] = False
    return torch.rand(num_runs, HOPS, BINS, FRAMES, dtype=torch.float64) + 1.0, masks


def augment(log_mel: Tensor, masks: Tensor, **settings: Any) -> Tensor:
    return augment_spectrogram(log_mel, masks, AudioAugmentation.model_validate(settings), AUDIO)


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


def test_an_equaliser_adds_the_same_to_a_bin_at_every_time_and_no_more_than_is_asked() -> None:
    log_mel, masks = make_runs(200)
    whole_runs = torch.ones_like(masks)
    added = whole(augment(log_mel, whole_runs, equaliser_db=6.0) - log_mel)
    assert torch.allclose(added, added[..., :1].expand_as(added), atol=1e-9)
    most = 6.0 * np.log(10.0) / 10.0 / AUDIO.std
    assert 0.9 * most < added.abs().max() <= most
    bends = added[..., 0].diff(dim=1).diff(dim=1).abs() > 1e-6
    assert bends.sum(dim=1).max() <= 4  # straight between its points


def test_an_equaliser_does_not_go_below_silence() -> None:
    floor = (np.log(1e-6) - AUDIO.mean) / AUDIO.std
    log_mel = torch.full((50, HOPS, BINS, FRAMES), floor, dtype=torch.float64)
    found = augment(log_mel, torch.ones(50, HOPS, dtype=torch.bool), equaliser_db=6.0)
    assert found.min() == pytest.approx(floor)
    assert found.max() > floor + 0.1


def test_a_shift_moves_a_line_between_bins_and_holds_the_ends() -> None:
    ramp = torch.arange(BINS, dtype=torch.float64)[:, None].expand(BINS, FRAMES)
    log_mel = ramp.expand(100, HOPS, BINS, FRAMES)
    found = whole(augment(log_mel, torch.ones(100, HOPS, dtype=torch.bool), shift_bins=2.0))
    shifts = 3.0 - found[:, 3, 0]  # bins 2 and 3 stay inside the ramp
    assert 1.8 < shifts.abs().max() <= 2.0
    expected = (torch.arange(BINS)[None] - shifts[:, None]).clamp(0, BINS - 1)
    torch.testing.assert_close(found, expected[..., None].expand_as(found), atol=1e-6, rtol=0)
