"""Augmentation of log-mel spectrograms: SpecAugment (arXiv 1904.08779) over the whole run, and a change of speed."""

from __future__ import annotations

import torch
from torch import Tensor

from training.augment.config import AudioAugmentation
from training.augment.draws import chosen_runs, uniform
from training.augment.hops import stretches

BLANK = 0.0
"""What stands on masked places: the mean of normalised spectrograms."""


def augment_spectrogram(log_mel: Tensor, masks: Tensor, config: AudioAugmentation) -> Tensor:
    """Change the speed, then blank spans of time and bands of frequency.

    Args:
        log_mel: ``(C, R, F, M)`` float, normalised; a run's mel frames follow each other over its hops.
        masks: ``(C, R)`` bool; other hops stay as they are.
        config: what to do.

    Returns:
        ``(C, R, F, M)``.
    """
    if not (config.stretch or config.time_masks or config.frequency_masks):
        return log_mel
    num_runs, num_hops, num_bins, num_frames = log_mel.shape
    chosen = chosen_runs(num_runs, config.probability, log_mel.device)
    runs = log_mel.transpose(1, 2).reshape(num_runs, num_bins, num_hops * num_frames)
    if config.stretch:
        runs = _stretch(runs, masks, uniform(num_runs, config.stretch, log_mel), num_frames)
    if config.time_masks:
        blanked = draw_spans(num_runs, runs.shape[2], config.time_masks, config.time_mask_frames, log_mel.device)
        runs = runs.masked_fill(blanked[:, None, :], BLANK)
    if config.frequency_masks:
        blanked = draw_spans(num_runs, num_bins, config.frequency_masks, config.frequency_mask_bins, log_mel.device)
        runs = runs.masked_fill(blanked[:, :, None], BLANK)
    changed = runs.view(num_runs, num_bins, num_hops, num_frames).transpose(1, 2)
    return torch.where((masks & chosen[:, None])[..., None, None], changed, log_mel)


def draw_spans(num_runs: int, length: int, count: int, longest: int, device: torch.device) -> Tensor:
    """``count`` spans a run, each of a width drawn evenly from 0 to ``longest``, at a place drawn evenly.

    Returns:
        ``(C, length)`` bool, True inside a span.
    """
    draws = torch.rand(2, num_runs, count, 1, device=device)
    widths = (draws[0] * (min(longest, length) + 1)).long()
    starts = (draws[1] * (length - widths + 1)).long()
    places = torch.arange(length, device=device)
    return ((places >= starts) & (places < starts + widths)).any(dim=1)


def _stretch(runs: Tensor, masks: Tensor, speed: Tensor, num_frames: int) -> Tensor:
    """Read each run ``(F, R * M)`` at ``speed`` around its centre, linearly between mel frames, holding its ends.

    A run with gaps stays, since its ends would be taken for its inside.
    """
    first, count, whole = stretches(masks)
    start = (first * num_frames)[:, None].to(runs.dtype)
    stop = start + (count * num_frames)[:, None] - 1.0
    places = torch.arange(runs.shape[2], device=runs.device, dtype=runs.dtype)[None]
    centre = (start + stop) / 2
    source = (centre + (places - centre) * speed[:, None].to(runs.dtype)).clamp(start, stop.clamp(min=0.0))
    low = source.floor()
    share = (source - low)[:, None, :]
    low_index = low.long()[:, None, :].expand_as(runs)
    high_index = source.ceil().long()[:, None, :].expand_as(runs)
    stretched = runs.gather(2, low_index) * (1.0 - share) + runs.gather(2, high_index) * share
    return torch.where(whole[:, None, None], stretched, runs)
