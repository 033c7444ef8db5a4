"""A remark on paper: every quantity that is drawn, before anything is rendered."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.synth.channels import draw_view
from training.synth.script import ContainerName
from training.synth.sentiment.face import Face, draw_face
from training.synth.sentiment.prosody import Prosody, draw_prosody
from training.synth.sentiment.views import FACE, VOICE, WORDS
from training.synth.sentiment.words import draw_sentence
from training.synth.timeline import Timeline, draw_timeline

MIN_SECONDS, MAX_SECONDS = 2.3, 3.0
SIZES = ((128, 128), (112, 136), (136, 120), (120, 144))
"""Width and height in pixels."""
TIMED_SHARE = 0.5
"""Of the sentences that are a WebVTT cue; the others are plain text."""
REMARK_STREAM = 302
"""Keeps the draws of remarks apart from those of other datasets."""


@dataclass(frozen=True)
class RemarkScript:
    """Everything about a clip; ``noise_seed`` starts the generators of picture and sound noise."""

    container: ContainerName
    width: int
    height: int
    group_frames: int
    """Frames from one key frame to the next."""
    timeline: Timeline
    face: Face
    prosody: Prosody
    sentence: str
    timed: bool
    noise_seed: tuple[int, ...]


def draw_remark(seed: tuple[int, int], sentiment: int) -> RemarkScript:
    """Draw the clip of one of ``SENTIMENTS``, which decides over the three views and nothing else.

    Args:
        seed: of the dataset, and the clip's index.
        sentiment: an index into ``SENTIMENTS``.
    """
    # One generator for each: what one modality shows must not depend on how much another drew.
    rngs = [np.random.default_rng([*seed, REMARK_STREAM, stream]) for stream in range(5)]
    views, frame, looks, sounds, words = rngs
    container: ContainerName = "mp4"
    width, height = SIZES[frame.integers(len(SIZES))]
    return RemarkScript(
        container=container,
        width=width,
        height=height,
        group_frames=int(frame.integers(12, 73)),
        timeline=draw_timeline(frame, [float(frame.uniform(MIN_SECONDS, MAX_SECONDS))], container),
        face=draw_face(looks, draw_view(views, FACE, sentiment)),
        prosody=draw_prosody(sounds, draw_view(views, VOICE, sentiment)),
        sentence=draw_sentence(words, draw_view(views, WORDS, sentiment)),
        timed=bool(frame.uniform() < TIMED_SHARE),
        noise_seed=(*seed, REMARK_STREAM, 5),
    )
