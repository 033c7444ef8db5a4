"""A clip, and a dataset of clips, as a pure function of a seed."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import chain, combinations, islice
from pathlib import Path

import numpy as np

from training.manifest import DatasetRecord, LabelledSegment, ManifestEntry, Split, write_dataset_record, write_manifest
from training.synth.dealing import Deal, deal_clip, deal_clips
from training.synth.drawing import draw_frames
from training.synth.encode import encode_clip
from training.synth.labels import SENSES, ceiling
from training.synth.script import ClipScript, ContainerName, draw_script
from training.synth.sound import render_waveform

MANIFEST_NAME = "manifest.jsonl"


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
        segments=tuple(
            LabelledSegment(float(part.start_seconds), float(part.stop_seconds), part.activity.label)
            for part in script.segments
        ),
        extension=script.container,
    )


def write_words(script: ClipScript) -> str:
    """The clip's cues as WebVTT."""
    cues = [
        f"{_timestamp(cue.start_ms)} --> {_timestamp(cue.stop_ms)}\n{cue.phrase.say(segment.activity.phrase)}\n"
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
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Render a dataset into ``out`` and list it in a manifest, written last, with a ``dataset.json`` beside it.

    Args:
        out: a folder, made when it is not there; an earlier render's manifest is removed first, and files of the same
            names are replaced.
        num_clips: at least 1; a larger dataset of the same seed begins with the same clips.
        seed: not negative; another seed gives a held-out dataset.
        val_fraction: share of the clips whose split is ``val``, drawn by clip.
        jobs: processes.
        progress: called after each clip with how many are done and how many there are.

    Returns:
        The manifest's path.

    Raises:
        ValueError: when an argument is out of range.
    """
    if num_clips < 1 or seed < 0 or jobs < 1 or not 0 <= val_fraction <= 1:
        raise ValueError(
            f"needs num_clips >= 1, seed >= 0, jobs >= 1 and val_fraction in [0, 1], "
            f"got {num_clips}, {seed}, {jobs} and {val_fraction}"
        )
    (out / "clips").mkdir(parents=True, exist_ok=True)
    manifest = out / MANIFEST_NAME
    manifest.unlink(missing_ok=True)  # an interrupted render must not look like a whole one
    splits = _draw_splits(seed, num_clips, val_fraction)
    tasks = [(out, seed, index, deal, splits[index]) for index, deal in enumerate(islice(deal_clips(seed), num_clips))]
    entries: dict[int, ManifestEntry] = {}
    for index, entry in _run(tasks, jobs):
        entries[index] = entry
        if progress is not None:
            progress(len(entries), num_clips)
    write_dataset_record(manifest, _record(num_clips, seed))
    write_manifest(manifest, [entries[index] for index in range(num_clips)])
    return manifest


_Task = tuple[Path, int, int, Deal, Split]


def _run(tasks: list[_Task], jobs: int) -> Iterator[tuple[int, ManifestEntry]]:
    """Render in this process, or in ``jobs`` fresh ones; in the order of completion."""
    if jobs == 1:
        yield from map(_render_into, tasks)
        return
    pool = ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"))
    try:
        for future in as_completed([pool.submit(_render_into, task) for task in tasks]):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)  # after an error or an interrupt, what has not begun never will


def _render_into(task: _Task) -> tuple[int, ManifestEntry]:
    out, seed, index, deal, split = task
    rendered = render_clip(seed, index, deal)
    clip = out / "clips" / f"{index:06d}.{rendered.extension}"
    text = clip.with_suffix(".vtt")
    clip.write_bytes(rendered.video)
    text.write_text(rendered.words, encoding="utf-8")
    return index, ManifestEntry(clip, text, None, rendered.segments, split)


def _record(num_clips: int, seed: int) -> DatasetRecord:
    """What is known of the dataset as a whole, the ceiling of every subset of the modalities among it."""
    subsets = chain.from_iterable(combinations(SENSES, size) for size in range(1, len(SENSES) + 1))
    ceilings = {"+".join(subset): ceiling(subset) for subset in subsets}
    return DatasetRecord(generator="activity synth", seed=seed, clips=num_clips, ceilings=ceilings)


def _draw_splits(seed: int, num_clips: int, val_fraction: float) -> list[Split]:
    order = np.random.default_rng([seed, 104]).permutation(num_clips)
    held = set(order[: round(val_fraction * num_clips)].tolist())
    return ["val" if index in held else "train" for index in range(num_clips)]


def _timestamp(milliseconds: int) -> str:
    """``hh:mm:ss.ttt``."""
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{rest:03d}"
