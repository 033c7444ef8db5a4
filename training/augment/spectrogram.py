"""Augmentation of log-mel spectrograms: speed, pitch, colour, and SpecAugment (arXiv 1904.08779) over whole runs."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from handler.transform import LOG_FLOOR
from models.encoder_config import AudioConfig
from training.augment.config import AudioAugmentation
from training.augment.draws import chosen_runs, uniform
from training.augment.hops import stretches

BLANK = 0.0
"""What stands on masked places: the mean of normalised spectrograms."""
EQUALISER_KNOTS = 4
"""Points over the mel bins at which the equaliser's curve is drawn; between them it is straight."""


def augment_spectrogram(log_mel: Tensor, masks: Tensor, config: AudioAugmentation, audio: AudioConfig) -> Tensor:
    """Change speed, pitch and colour, then blank spans of time and bands of frequency.

    Args:
        log_mel: ``(C, R, F, M)`` float, normalised; a run's mel frames follow each other over its hops.
        masks: ``(C, R)`` bool; other hops stay as they are.
        config: what to do.
        audio: how the spectrogram was normalised.

    Returns:
        ``(C, R, F, M)``.
    """
    changes = (config.stretch, config.shift_bins, config.equaliser_db, config.time_masks, config.frequency_masks)
    if not any(changes):
        return log_mel
    num_runs, num_hops, num_bins, num_frames = log_mel.shape
    chosen = chosen_runs(num_runs, config.probability, log_mel.device)
    runs = log_mel.transpose(1, 2).reshape(num_runs, num_bins, num_hops * num_frames)
    if config.stretch:
        runs = _stretch(runs, masks, uniform(num_runs, config.stretch, log_mel), num_frames)
    if config.shift_bins:
        runs = _shift_bins(runs, uniform(num_runs, (-config.shift_bins, config.shift_bins), log_mel))
    if config.equaliser_db:
        runs = _equalise(runs, config.equaliser_db, audio)
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


def _shift_bins(runs: Tensor, shifts: Tensor) -> Tensor:
    """Move each run ``(F, T)`` up by its shift in bins, linearly between bins, holding the ends."""
    last = runs.shape[1] - 1
    bins = torch.arange(last + 1, device=runs.device, dtype=runs.dtype)[None]
    source = (bins - shifts[:, None].to(runs.dtype)).clamp(0.0, last)
    low = source.floor()
    share = (source - low)[..., None]
    low_index, high_index = (part.long()[..., None].expand_as(runs) for part in (low, source.ceil()))
    return runs.gather(1, low_index) * (1.0 - share) + runs.gather(1, high_index) * share


def _equalise(runs: Tensor, most_db: float, audio: AudioConfig) -> Tensor:
    """Add to each run ``(F, T)`` a curve over frequency; nothing falls below what the transforms give for silence."""
    draws = torch.rand(len(runs), 1, EQUALISER_KNOTS, device=runs.device) * 2.0 - 1.0
    curve_db = functional.interpolate(draws * most_db, size=runs.shape[1], mode="linear", align_corners=True)[:, 0]
    normalised = curve_db.to(runs.dtype) * (math.log(10.0) / 10.0) / audio.std
    return (runs + normalised[..., None]).clamp(min=(math.log(LOG_FLOOR) - audio.mean) / audio.std)
