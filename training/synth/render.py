"""A clip, and a dataset of clips, as a pure function of a seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

from training.manifest import LabelledSegment, ManifestEntry
from training.synth.channels import subsets
from training.synth.dataset import CLIPS_NAME, Progress, RenderSettings, write_dataset
from training.synth.dealing import Deal, deal_clip, deal_clips
from training.synth.depth import render_depth
from training.synth.drawing import draw_frames
from training.synth.encode import encode_clip
from training.synth.imu import render_imu
from training.synth.labels import BITS, SENSES, TRACKS, Bit, Track, ceiling
from training.synth.script import ClipScript, ContainerName, draw_script
from training.synth.sound import render_waveform
from training.synth.webvtt import write_cue


@dataclass(frozen=True)
class RenderedClip:
    """A clip with its truth."""

    video: bytes
    """The container with picture and sound."""
    words: str
    """WebVTT."""
    segments: tuple[LabelledSegment, ...]
    extension: ContainerName
    """Suffix of the container's file name, without a dot."""


def render_clip(seed: int, index: int, deal: Deal | None = None) -> RenderedClip:
    """Render clip ``index`` of the dataset ``seed``.

    Args:
        seed: of the dataset, not negative.
        index: of the clip, not negative.
        deal: what the clip shows; dealt anew when it is None, which takes longer the higher the index.
    """
    return render_script(draw_script((seed, index), deal or deal_clip(seed, index)))


def render_script(script: ClipScript) -> RenderedClip:
    """Draw, sound, word and encode what a script says."""
    return RenderedClip(
        video=encode_clip(script, draw_frames(script), render_waveform(script)),
        words=write_words(script),
        segments=merge_segments(script, BITS),
        extension=script.container,
    )


def write_words(script: ClipScript) -> str:
    """The clip's cues as WebVTT."""
    cues = [
        write_cue(cue.start_ms, cue.stop_ms, cue.phrase.say(segment.activity.phrase))
        for segment in script.segments
        for cue in segment.cues
    ]
    return "\n".join(["WEBVTT\n", *cues])


def render_dataset(
    out: Path,
    num_clips: int,
    seed: int,
    *,
    val_fraction: float = 0.0,
    jobs: int = 1,
    tracks: Sequence[Track] = (),
    bits: Sequence[Bit] = BITS,
    progress: Progress | None = None,
) -> Path:
    """Render a dataset of activities into ``out``: see :func:`training.synth.dataset.write_dataset`.

    Args:
        out: the dataset's folder.
        num_clips: at least 1; a larger dataset of the same seed begins with the same clips.
        seed: not negative; another seed gives a held-out dataset.
        val_fraction: share of the clips whose split is ``val``, drawn by clip.
        jobs: processes.
        tracks: which further views of the motion each clip has; they change nothing of the others.
        bits: what the labels are made of; neighbours that then have one label become one segment.
        progress: called after each clip with how many are done and how many there are.

    Returns:
        The manifest's path.

    Raises:
        ValueError: when an argument is out of range.
    """
    settings = RenderSettings(num_clips, seed, val_fraction, jobs)
    if not set(tracks) <= set(TRACKS) or not bits or not set(bits) <= set(BITS):
        raise ValueError(f"tracks are of {', '.join(TRACKS)} and bits of {', '.join(BITS)}, got {tracks} and {bits}")
    known = (*SENSES, *(track for track in TRACKS if track in tracks))
    tasks = [
        partial(_render_into, out, (seed, index), deal, tuple(tracks), tuple(bits))
        for index, deal in enumerate(islice(deal_clips(seed), num_clips))
    ]
    ceilings = {"+".join(subset): ceiling(subset, bits) for subset in subsets(known)}
    return write_dataset(out, tasks, settings, ceilings, progress)


def merge_segments(script: ClipScript, bits: Sequence[Bit]) -> tuple[LabelledSegment, ...]:
    """The truth where only some bits count: neighbours of one label are one segment."""
    merged: list[LabelledSegment] = []
    for part in script.segments:
        label, start = part.activity.name_bits(bits), float(part.start_seconds)
        if merged and merged[-1].label == label:
            start = merged.pop().start_seconds
        merged.append(LabelledSegment(start, float(part.stop_seconds), label))
    return tuple(merged)


def _render_into(
    out: Path, seed: tuple[int, int], deal: Deal, tracks: tuple[Track, ...], bits: tuple[Bit, ...]
) -> ManifestEntry:
    script = draw_script(seed, deal)
    rendered = render_script(script)
    clip = out / CLIPS_NAME / f"{seed[1]:06d}.{rendered.extension}"
    text = clip.with_suffix(".vtt")
    clip.write_bytes(rendered.video)
    text.write_text(rendered.words, encoding="utf-8")
    entry = ManifestEntry(clip, text, None, merge_segments(script, bits))
    if "imu" in tracks:
        imu = clip.with_suffix(".imu.csv")
        imu.write_text(render_imu(script), encoding="utf-8")
        entry = replace(entry, vectors={"imu": imu})
    if "depth" in tracks:
        video, container = render_depth(script)
        depth = clip.with_suffix(f".depth.{container}")
        depth.write_bytes(video)
        entry = replace(entry, depth=depth)
    return entry
