"""A dataset of moments, as a pure function of a seed.

The clips are those of the activities, but their modalities are not independent: the chirps come in step with the
swing, one at each turn of the object, and the words are captions, one a segment, of what is seen and heard. So a
picture and its sound share tempo and phase, and the words share with each what they say of it.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from training.manifest import ManifestEntry
from training.synth.dataset import CLIPS_NAME, Progress, RenderSettings, write_dataset
from training.synth.dealing import Deal, deal_clips
from training.synth.drawing import draw_frames
from training.synth.encode import encode_clip
from training.synth.labels import Bit
from training.synth.moments.captions import TEMPLATES, write_caption
from training.synth.render import merge_segments
from training.synth.scene import Motion
from training.synth.script import ClipScript, draw_script
from training.synth.sound import render_waveform
from training.synth.tones import Chirps
from training.synth.webvtt import write_cue

BITS: tuple[Bit, ...] = ("motion", "sound")
"""What the labels are made of; the words say both."""
CEILINGS = {"video": 0.5, "audio": 0.5, "text": 1.0, "video+audio": 1.0, "video+text": 1.0, "audio+text": 1.0}
PULSE_SHARE = 0.7  # of a chirp's period


def render_moments(out: Path, settings: RenderSettings, *, progress: Progress | None = None) -> Path:
    """Render moments into ``out``: see :func:`training.synth.dataset.write_dataset`."""
    deals = islice(deal_clips(settings.seed), settings.num_clips)
    tasks = [partial(_render_into, out, (settings.seed, index), deal) for index, deal in enumerate(deals)]
    return write_dataset(out, tasks, settings, {**CEILINGS, "video+audio+text": 1.0}, progress)


def draw_moments(seed: tuple[int, int], deal: Deal) -> ClipScript:
    """A script of activities with the chirps in step with the swing."""
    script = draw_script(seed, deal)
    segments = (replace(part, chirps=keep_step(part.chirps, part.motion)) for part in script.segments)
    return replace(script, segments=tuple(segments))


def keep_step(chirps: Chirps, motion: Motion) -> Chirps:
    """The chirps with one of them beginning at each turn of the swing."""
    period = 1 / (2 * motion.frequency_hz)
    since_turn = (motion.phase - math.pi / 2) / math.pi % 1
    return replace(chirps, period_seconds=period, pulse_seconds=PULSE_SHARE * period, shift=since_turn)


def write_captions(script: ClipScript) -> str:
    """One cue a segment, as WebVTT."""
    rng = np.random.default_rng([*script.noise_seed, 301])
    templates = rng.integers(len(TEMPLATES), size=len(script.segments))
    cues = [
        # Rounded inwards, as everywhere: no cue reaches into its neighbour.
        write_cue(
            math.ceil(part.start_seconds * 1000),
            math.floor(part.stop_seconds * 1000),
            write_caption(script, part, int(template)),
        )
        for part, template in zip(script.segments, templates, strict=True)
    ]
    return "\n".join(["WEBVTT\n", *cues])


def _render_into(out: Path, seed: tuple[int, int], deal: Deal) -> ManifestEntry:
    script = draw_moments(seed, deal)
    clip = out / CLIPS_NAME / f"{seed[1]:06d}.{script.container}"
    clip.write_bytes(encode_clip(script, draw_frames(script), render_waveform(script)))
    text = clip.with_suffix(".vtt")
    text.write_text(write_captions(script), encoding="utf-8")
    return ManifestEntry(clip, text, None, merge_segments(script, BITS))
