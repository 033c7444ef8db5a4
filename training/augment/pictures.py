"""Augmentation of frames and pictures: one crop, one flip and one change of colour for a whole run."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from training.augment.config import ImageAugmentation, VideoAugmentation
from training.augment.draws import chosen_runs, of_runs, uniform

GREY = (0.299, 0.587, 0.114)
"""ITU-R BT.601 luma of red, green and blue."""


def augment_pictures(frames: Tensor, masks: Tensor, config: ImageAugmentation) -> Tensor:
    """Jitter in time, crop and resize, change colours, mirror.

    Args:
        frames: ``(C, R, T, channels, H, W)`` uint8; of a single picture T is 1.
        masks: ``(C, R)`` bool; other hops stay as they are.
        config: what to do.

    Returns:
        ``(C, R, T, channels, H, W)`` uint8.
    """
    colours = (config.brightness, config.contrast, config.saturation)
    moves = isinstance(config, VideoAugmentation) and bool(config.shift_frames or config.drop_frames)
    if not (config.crop_scale or config.flip or any(colours) or moves):
        return frames
    chosen = chosen_runs(len(frames), config.probability, frames.device)
    changed = _jitter_time(frames, config) if isinstance(config, VideoAugmentation) else frames
    if config.crop_scale or any(colours):
        scaled = changed.float()
        if config.crop_scale:
            scaled = _crop(scaled, config.crop_scale)
        if any(colours):
            scaled = _colour(scaled, masks, config)
        changed = scaled.round_().clamp_(0.0, 255.0).to(torch.uint8)
    if config.flip:
        mirrored = torch.rand(len(frames), device=frames.device) < 0.5
        changed = torch.where(of_runs(mirrored, frames), changed.flip(-1), changed)
    return torch.where((masks & chosen[:, None])[..., None, None, None, None], changed, frames)


def _jitter_time(frames: Tensor, config: VideoAugmentation) -> Tensor:
    """Shift the frames within their hops by one number a run, and lose frames, each for itself.

    A hop's first frame is never lost: what is shown before it lies in another hop, which may be absent.
    """
    num_runs, num_hops, num_frames = frames.shape[:3]
    places = torch.arange(num_frames, device=frames.device).expand(num_runs, num_hops, num_frames)
    if config.shift_frames:
        shifts = torch.randint(-config.shift_frames, config.shift_frames + 1, (num_runs, 1, 1), device=frames.device)
        places = (places + shifts).clamp(0, num_frames - 1)
    if config.drop_frames:
        lost = torch.rand(places.shape, device=frames.device) < config.drop_frames
        index = torch.arange(num_frames, device=frames.device).expand_as(places)
        places = places.gather(2, index.masked_fill(lost, 0).cummax(dim=2).values)
    runs = torch.arange(num_runs, device=frames.device)[:, None, None]
    hops = torch.arange(num_hops, device=frames.device)[None, :, None]
    return frames[runs, hops, places]


def _crop(frames: Tensor, crop_scale: tuple[float, float]) -> Tensor:
    """One square-proportioned crop a run, resized bilinearly to the whole; a crop only ever enlarges."""
    num_runs = len(frames)
    side = uniform(num_runs, crop_scale, frames).sqrt()
    offsets = (torch.rand(2, num_runs, device=frames.device) * 2.0 - 1.0) * (1.0 - side)
    zeros = torch.zeros_like(side)
    boxes = torch.stack([side, zeros, offsets[0], zeros, side, offsets[1]], dim=1).view(num_runs, 2, 3)
    planes = frames.flatten(1, 3)
    grid = functional.affine_grid(boxes, [num_runs, 1, *planes.shape[2:]], align_corners=False)
    return functional.grid_sample(planes, grid, padding_mode="border", align_corners=False).view_as(frames)


def _colour(frames: Tensor, masks: Tensor, config: ImageAugmentation) -> Tensor:
    """Brightness b, then contrast c around the run's mean grey m, then saturation s: ``frames`` float in [0, 255].

    Each is linear, and the weights of grey add to 1, so that together they are
    ``s c b x + (1 - s) c b grey(x) + (1 - c) b m``: two passes over the frames instead of six.
    """
    brightness = _factors(config.brightness, frames)
    contrast = _factors(config.contrast, frames)
    saturation = _factors(config.saturation if frames.shape[3] == len(GREY) else 0.0, frames)
    slope = contrast * brightness
    changed = frames * of_runs(saturation * slope, frames)
    if config.contrast:
        means = _grey(frames.mean(dim=(2, 4, 5), keepdim=True)).flatten(1) * masks
        mean = means.sum(dim=1) / masks.sum(dim=1).clamp(min=1)
        changed += of_runs((1.0 - contrast) * brightness * mean, frames)
    if config.saturation and frames.shape[3] == len(GREY):
        changed += _grey(frames) * of_runs((1.0 - saturation) * slope, frames)
    return changed


def _factors(strength: float, frames: Tensor) -> Tensor:
    """A factor a run ``(C,)`` around 1; nothing is drawn where it can only be 1."""
    if not strength:
        return torch.ones(len(frames), device=frames.device)
    return uniform(len(frames), (1.0 - strength, 1.0 + strength), frames)


def _grey(frames: Tensor) -> Tensor:
    """``(C, R, T, 1, H, W)``: a picture of one channel is grey already."""
    if frames.shape[3] != len(GREY):
        return frames
    red, green, blue = (channel * weight for channel, weight in zip(frames.unbind(3), GREY, strict=True))
    return (red + green + blue).unsqueeze(3)
