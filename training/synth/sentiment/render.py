"""A dataset of remarks, as a pure function of a seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from training.manifest import ManifestEntry
from training.synth.channels import deal_classes
from training.synth.dataset import CLIPS_NAME, Progress, RenderSettings, write_dataset
from training.synth.encode import encode_clip
from training.synth.sentiment.face import draw_face_frames
from training.synth.sentiment.prosody import render_prosody
from training.synth.sentiment.script import RemarkScript, draw_remark
from training.synth.sentiment.views import SENTIMENTS, sentiment_ceilings
from training.synth.webvtt import write_cue


@dataclass(frozen=True)
class RenderedRemark:
    """A clip and its words."""

    video: bytes
    """An mp4 with picture and sound."""
    words: str
    """WebVTT of one cue, or plain text."""


def render_sentiment(out: Path, settings: RenderSettings, *, progress: Progress | None = None) -> Path:
    """Render remarks into ``out``: see :func:`training.synth.dataset.write_dataset`. Each lasts 2.3 to 3 seconds."""
    sentiments = deal_classes(settings.seed, settings.num_clips, len(SENTIMENTS))
    tasks = [
        partial(_render_into, out, (settings.seed, index), sentiment) for index, sentiment in enumerate(sentiments)
    ]
    return write_dataset(out, tasks, settings, sentiment_ceilings(), progress)


def render_remark(script: RemarkScript) -> RenderedRemark:
    """Draw, sound, word and encode what a script says."""
    timeline = script.timeline
    rng = np.random.default_rng([*script.noise_seed, 0])
    length = timeline.stop_sample - timeline.first_sample
    sound = render_prosody(rng, script.prosody, length, timeline.sample_rate)
    words = script.sentence + "\n"
    if script.timed:
        # Rounded inwards, as everywhere: no cue reaches beyond its clip.
        start, stop = timeline.edges_seconds[0], timeline.edges_seconds[-1]
        words = f"WEBVTT\n\n{write_cue(-int(-start * 1000 // 1), int(stop * 1000 // 1), script.sentence)}"
    return RenderedRemark(encode_clip(script, _draw_frames(script), sound[None].astype(np.float32)), words)


def _draw_frames(script: RemarkScript) -> Iterator[NDArray[np.uint8]]:
    """``(H * 3/2, W)`` uint8 planes of each frame."""
    rng = np.random.default_rng([*script.noise_seed, 1])
    start = script.timeline.edges_seconds[0]
    converter = VideoReformatter()
    times = [float(seconds - start) for seconds in script.timeline.frame_seconds]
    for picture in draw_face_frames(rng, script.face, (script.width, script.height), times):
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        planes = converter.reformat(frame, format="yuv420p", threads=1).to_ndarray()
        yield planes.astype(np.uint8, copy=False)


def _render_into(out: Path, seed: tuple[int, int], sentiment: int) -> ManifestEntry:
    script = draw_remark(seed, sentiment)
    rendered = render_remark(script)
    clip = out / CLIPS_NAME / f"{seed[1]:06d}.{script.container}"
    text = clip.with_suffix(".vtt" if script.timed else ".txt")
    clip.write_bytes(rendered.video)
    text.write_text(rendered.words, encoding="utf-8")
    return ManifestEntry(clip, text, None, (), label=SENTIMENTS[sentiment])
