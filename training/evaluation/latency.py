"""How long one clip takes, from its bytes to its segments."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from handler.decode import decode_request
from handler.pipeline import ActivityPipeline
from training.dataset import read_request
from training.evaluation.observe import default_options
from training.evaluation.results import LatencyResult, Percentiles
from training.manifest import ManifestEntry

MAX_CLIPS = 50


def measure_latency(
    pipeline: ActivityPipeline,
    entries: Sequence[ManifestEntry],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> LatencyResult:
    """Decode and score clips one after the other, at most 50 of them, spread over the entries.

    The first is done once before, unmeasured: it pays for what is loaded and compiled only once.

    Args:
        pipeline: the checkpoint's.
        entries: at least one.
        progress: called with clips done and clips in all.
    """
    step = -(-len(entries) // MAX_CLIPS)
    chosen = list(entries[::step])
    _time_clip(pipeline, chosen[0])
    times = []
    for number, entry in enumerate(chosen, start=1):
        times.append(_time_clip(pipeline, entry))
        if progress is not None:
            progress(number, len(chosen))
    clip, decode, model = np.array(times).T
    return LatencyResult(
        num_clips=len(chosen),
        clip_seconds=float(clip.mean()),
        decode_seconds=_percentiles(decode),
        model_seconds=_percentiles(model),
        real_time_factor=float(clip.sum() / (decode.sum() + model.sum())),
        device=str(pipeline.runtime.device),
        dtype=str(pipeline.runtime.dtype).removeprefix("torch."),
        threads=pipeline.runtime.threads,
    )


def _time_clip(pipeline: ActivityPipeline, entry: ManifestEntry) -> tuple[float, float, float]:
    """Seconds of the clip, of its decode and of the model; reading the file does not count."""
    request = read_request(entry)
    started = time.perf_counter()
    clip = decode_request(request, pipeline.config, pipeline.limits)
    decoded = time.perf_counter()
    pipeline.decide(clip, pipeline.scorer.score(clip), default_options(pipeline.config))
    return clip.schedule.span.duration_seconds, decoded - started, time.perf_counter() - decoded


def _percentiles(seconds: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Percentiles:
    return Percentiles(*(float(value) for value in np.percentile(seconds, (50, 99))))
