"""A dataset of events, as a pure function of a seed."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from training.manifest import ManifestEntry
from training.synth.channels import deal_classes, draw_view
from training.synth.dataset import CLIPS_NAME, Progress, RenderSettings, write_dataset
from training.synth.events.picture import draw_picture
from training.synth.events.sound import render_sound
from training.synth.events.table import render_row
from training.synth.events.views import EVENTS, PICTURE, SOUND, event_ceilings
from training.synth.files import write_png, write_wav

EVENT_STREAM = 301
"""Keeps the draws of events apart from those of other datasets."""


def render_events(out: Path, settings: RenderSettings, *, progress: Progress | None = None) -> Path:
    """Render events into ``out``: see :func:`training.synth.dataset.write_dataset`. Each clip lasts two seconds."""
    events = deal_classes(settings.seed, settings.num_clips, len(EVENTS))
    tasks = [partial(_render_into, out, (settings.seed, index), event) for index, event in enumerate(events)]
    return write_dataset(out, tasks, settings, event_ceilings(), progress)


def _render_into(out: Path, seed: tuple[int, int], event: int) -> ManifestEntry:
    # One generator for each: what one modality shows must not depend on how much another drew.
    views, looks, noises, cells = (np.random.default_rng([*seed, EVENT_STREAM, stream]) for stream in range(4))
    stem = out / CLIPS_NAME / f"{seed[1]:06d}"
    image, audio, tabular = (stem.with_suffix(suffix) for suffix in (".png", ".wav", ".csv"))
    image.write_bytes(write_png(draw_picture(looks, draw_view(views, PICTURE, event))))
    audio.write_bytes(write_wav(*render_sound(noises, draw_view(views, SOUND, event))))
    tabular.write_text(render_row(cells, event), encoding="utf-8")
    return ManifestEntry(None, None, audio, (), image=image, tabular=tabular, label=EVENTS[event])
