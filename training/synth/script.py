"""A clip on paper: every quantity that is drawn, before anything is rendered.

What the label decides is the activity of each segment and nothing else: two deals of equal durations give scripts that
differ in their activities only.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np

from training.synth.dealing import Deal
from training.synth.labels import Activity
from training.synth.phrases import Phrase, draw_phrases
from training.synth.scene import Motion, Scene, draw_motion, draw_scene
from training.synth.timeline import Timeline, draw_timeline
from training.synth.tones import Chirps, Room, draw_chirps, draw_room

ContainerName = Literal["mp4", "webm"]
MP4_SHARE = 0.75
MEAN_CUE_SECONDS, MIN_CUE_SECONDS, MAX_CUE_SECONDS, MAX_GAP_SECONDS = 1.7, 1.2, 2.2, 0.2


@dataclass(frozen=True)
class CueScript:
    """A cue on the clip's timeline, in whole milliseconds, which is what WebVTT can say."""

    start_ms: int
    stop_ms: int
    phrase: Phrase


@dataclass(frozen=True)
class SegmentScript:
    """One activity and how it is shown, heard and said."""

    activity: Activity
    start_seconds: Fraction
    stop_seconds: Fraction
    motion: Motion
    chirps: Chirps
    cues: tuple[CueScript, ...]


@dataclass(frozen=True)
class ClipScript:
    """Everything about a clip; ``noise_seed`` starts the generators of picture and sound noise."""

    container: ContainerName
    width: int
    height: int
    group_frames: int
    """Frames from one key frame to the next."""
    timeline: Timeline
    scene: Scene
    room: Room
    segments: tuple[SegmentScript, ...]
    noise_seed: tuple[int, ...]


def draw_script(seed: tuple[int, ...], deal: Deal, *, container: ContainerName | None = None) -> ClipScript:
    """Draw a clip.

    Args:
        seed: of all that is drawn here.
        deal: the activities and about how long each is: edges move up to the next frame.
        container: drawn when it is None.
    """
    rng = np.random.default_rng([*seed, 201])
    drawn: ContainerName = "mp4" if rng.uniform() < MP4_SHARE else "webm"
    container = container or drawn
    width, height = draw_size(rng)
    timeline = draw_timeline(rng, deal.durations_seconds, container)
    scene, room = draw_scene(rng), draw_room(rng)
    edges = timeline.edges_seconds
    segments = tuple(
        SegmentScript(activity, start, stop, draw_motion(rng), draw_chirps(rng), draw_cues(rng, start, stop))
        for activity, start, stop in zip(deal.activities, edges[:-1], edges[1:], strict=True)
    )
    group_frames = int(rng.integers(12, 73))
    return ClipScript(container, width, height, group_frames, timeline, scene, room, segments, (*seed, 202))


def draw_size(rng: np.random.Generator) -> tuple[int, int]:
    """Width and height in pixels, even, from 160 x 120 to 480 x 360, upright or not."""
    aspect = float(rng.choice([1.0, 4 / 3, 3 / 2, 16 / 9]))
    short_most = min(360.0, 480 / aspect)
    short = 120 * (short_most / 120) ** rng.uniform()
    sides = (2 * round(short * aspect / 2), 2 * round(short / 2))
    return sides if rng.uniform() < 0.7 else (sides[1], sides[0])


def draw_cues(rng: np.random.Generator, start_seconds: Fraction, stop_seconds: Fraction) -> tuple[CueScript, ...]:
    """Cues of 1.2 to 2.2 s that cover ``[start_seconds, stop_seconds)``, with gaps of at most 0.2 s between them."""
    # WebVTT says milliseconds: rounded inwards, so that no cue crosses an edge.
    start_ms, stop_ms = -(-start_seconds * 1000 // 1), stop_seconds * 1000 // 1
    total = float(stop_ms - start_ms) / 1000
    count = max(2, round(total / (MEAN_CUE_SECONDS + MAX_GAP_SECONDS / 4)))
    gaps = np.where(rng.uniform(size=count - 1) < 0.5, 0.0, rng.uniform(0, MAX_GAP_SECONDS, size=count - 1))
    mean = (total - gaps.sum()) / count
    room = max(0.0, min(mean - MIN_CUE_SECONDS, MAX_CUE_SECONDS - mean) - 0.002)
    jitter = rng.uniform(-0.5, 0.5, size=count) * room
    lengths = mean + jitter - jitter.mean()
    starts = np.concatenate([[0.0], np.cumsum(lengths[:-1] + gaps)])
    edges = [(round(1000 * a), round(1000 * (a + b))) for a, b in zip(starts, lengths, strict=True)]
    base = int(start_ms)
    phrases = draw_phrases(rng, count)
    return tuple(CueScript(base + a, base + b, phrase) for (a, b), phrase in zip(edges, phrases, strict=True))
