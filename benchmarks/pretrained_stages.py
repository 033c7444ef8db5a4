"""What does a checkpoint cost a worker: memory, and the seconds of each stage of a request?

    python -m benchmarks.pretrained_stages CHECKPOINT --clip CLIP --words WORDS

One process a checkpoint, started for it alone, since a process never shrinks to what it was. It prints one JSON object;
``python -m benchmarks.pretrained`` makes the checkpoints and puts the objects into a table.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from handler.batching import run_micro_batches
from handler.clip import Clip, Waveform, Words
from handler.decode import decode_request
from handler.inference import EncodedClip, Scorer
from handler.limits import Limits
from handler.looks import look_at
from handler.options import ResolvedOptions, resolve_options
from handler.pipeline import ActivityPipeline
from handler.request import ActivityRequest, parse_request
from handler.runtime import Runtime, choose_runtime
from handler.segments import Segment
from handler.transcription import split_transcription
from handler.zero_shot import ZeroShotScorer
from models.config import Modality
from models.pretrained.encoder import PretrainedEncoder

NOW_AND_THEN = ("labels", "transcribe", "describe")
"""Stages that not every request has: labels that are new, the words of the sound, the description of one segment."""
ONE_THREAD, PROCESSOR = "1 thread", "1 thread, processor"


@dataclass(frozen=True)
class Measured:
    """What a checkpoint costs."""

    empty_megabytes: float
    """Resident memory of a worker without a model."""
    peak_megabytes: float
    """The most that it had, above that."""
    steady_megabytes: float
    """After a request, above that."""
    load_seconds: float
    num_windows: int
    clip_seconds: float
    dtype: str
    stages: dict[str, dict[str, float]]
    """By the number of threads, or the name of the device, the median seconds of each stage. Those of the processor
    are what the wall's clock would say if nothing else ran."""
    gpu_megabytes: float | None = None
    """The most that was allocated on the GPU."""

    def real_time_factor(self, where: str) -> float:
        """Seconds of work for a second of the clip, without what is not in every request."""
        stages = self.stages[where]
        return sum(seconds for name, seconds in stages.items() if name not in NOW_AND_THEN) / self.clip_seconds


@dataclass(frozen=True)
class Seconds:
    """What a piece of work took."""

    wall: float
    processor: float
    """Of all threads: what a machine with nothing else to do takes on one."""

    def __add__(self, other: Seconds) -> Seconds:
        return Seconds(self.wall + other.wall, self.processor + other.processor)

    def __sub__(self, other: Seconds) -> Seconds:
        return Seconds(max(0.0, self.wall - other.wall), max(0.0, self.processor - other.processor))


ZERO = Seconds(0.0, 0.0)


@dataclass
class Watch:
    """What each stage took."""

    stages: dict[str, Seconds] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add what the block takes."""
        wall, processor = time.perf_counter(), time.process_time()
        yield
        self.add(name, Seconds(time.perf_counter() - wall, time.process_time() - processor))

    def add(self, name: str, seconds: Seconds) -> None:
        """Add to a stage."""
        self.stages[name] = self.stages.get(name, ZERO) + seconds


def resident_megabytes(*, peak: bool = False) -> float:
    """Resident memory of this process as Linux says it; the most that it ever had with ``peak``."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    found = re.search(rf"^{'VmHWM' if peak else 'VmRSS'}:\s+(\d+) kB", status, flags=re.MULTILINE)
    if found is None:
        raise RuntimeError("the system does not say how much memory this process has")
    return int(found[1]) * 1024 / 1e6


def read_request(clip: Path, words: Path | None, labels: Sequence[str]) -> ActivityRequest:
    """The request for a clip.

    Args:
        clip: a container with picture and sound.
        words: WebVTT; None has them taken from the sound.
        labels: of a model whose labels are the request's choice.
    """
    raw: dict[str, bytes] = {"video": clip.read_bytes()}
    options: dict[str, object] = {"labels": list(labels)} if labels else {}
    if words is None:
        options["transcribe"] = True
    else:
        raw["text"] = words.read_bytes()
    return parse_request({**raw, "options": json.dumps(options).encode()}, Limits())


def measure(
    checkpoint: Path,
    clip: Path,
    words: Path,
    *,
    num_labels: int,
    runtimes: dict[str, Runtime],
    rounds: int,
    backend: str | None = None,
) -> Measured:
    """Load a checkpoint, answer a request that is not counted, and take the stages of some more.

    Args:
        checkpoint: its folder.
        clip: a container with picture and sound.
        words: WebVTT; not sent to a model that takes them from the sound.
        num_labels: of a model whose labels are the request's choice; in each round others, which none remembers.
        runtimes: by what the table calls them; they take turns.
        rounds: requests with each of them that are counted.
        backend: torch's compiler for the pretrained encoders, for example ``inductor``; None runs them as they are.
    """
    empty = resident_megabytes()
    started = time.perf_counter()
    first = next(iter(runtimes.values()))
    pipeline = ActivityPipeline.from_checkpoint(checkpoint, runtime=first)
    load_seconds = time.perf_counter() - started
    if backend is not None:
        compile_encoders(pipeline, backend)
    sent = None if pipeline.transcriber is not None else words
    chooses = isinstance(pipeline.scorer, ZeroShotScorer)
    taken: dict[str, list[Watch]] = {name: [] for name in runtimes}
    for number in range(rounds + 1):
        for name, runtime in runtimes.items():
            labels = [f"label {number} {name} {place}" for place in range(num_labels)] if chooses else []
            watch = Watch()
            answered = take_stages(pipeline, read_request(clip, sent, labels), runtime, watch)
            if number > 0:
                taken[name].append(watch)
    return Measured(
        empty_megabytes=empty,
        peak_megabytes=resident_megabytes(peak=True) - empty,
        steady_megabytes=resident_megabytes() - empty,
        load_seconds=load_seconds,
        num_windows=answered.schedule.num_windows,
        clip_seconds=answered.schedule.span.duration_seconds,
        dtype=str(first.dtype).removeprefix("torch."),
        stages=medians(taken),
        gpu_megabytes=torch.cuda.max_memory_allocated() / 1e6 if first.device.type == "cuda" else None,
    )


def medians(taken: Mapping[str, Sequence[Watch]]) -> dict[str, dict[str, float]]:
    """The median of each stage, by the wall's clock; of a first thread alone by the processor's too."""
    found: dict[str, dict[str, float]] = {}
    for where, watches in taken.items():
        names = watches[0].stages
        if where == ONE_THREAD:
            found[PROCESSOR] = {name: statistics.median(it.stages[name].processor for it in watches) for name in names}
        found[where] = {name: statistics.median(it.stages[name].wall for it in watches) for name in names}
    return found


def take_stages(pipeline: ActivityPipeline, request: ActivityRequest, runtime: Runtime, watch: Watch) -> Clip:
    """Answer a request stage by stage, as the pipeline does.

    Returns:
        The clip that was decoded.
    """
    scorer = pipeline.scorer
    pipeline.runtime = scorer.runtime = runtime
    if isinstance(scorer, ZeroShotScorer):
        scorer.embedder.runtime = runtime
    options = resolve_options(request.options, pipeline.config)
    clip = _decode(pipeline, request, watch)
    tokens: dict[Modality, Tensor] = {}
    for name in (it for it in pipeline.config.modalities if it in clip.masks):
        tokens |= _encode(scorer, name, clip, watch)
    encoded = EncodedClip(clip, tokens)
    if isinstance(scorer, ZeroShotScorer):
        _compare(scorer, encoded, options, watch)
    else:
        with watch.stage("fuse"):
            scored = scorer.fuse(encoded)
            pipeline.decide(clip, scored, options)
    if pipeline.describer is not None:
        span = clip.schedule.span
        segment = Segment(span.start_seconds, span.stop_seconds, "anything", 1.0)
        with watch.stage("describe"):
            pipeline.describer.describe([segment], partial(look_at, request, limits=pipeline.limits))
    return clip


def _decode(pipeline: ActivityPipeline, request: ActivityRequest, watch: Watch) -> Clip:
    request, transcribed = split_transcription(request, pipeline.config)

    def hear(waveform: Waveform) -> Words:
        if pipeline.transcriber is None:
            raise ValueError("this model has no transcriber")
        with watch.stage("transcribe"):
            return pipeline.transcriber.hear(waveform)

    whole = Watch()
    with whole.stage("decode"):
        clip = decode_request(request, pipeline.config, pipeline.limits, hear if transcribed else None)
    watch.add("decode", whole.stages["decode"] - watch.stages.get("transcribe", ZERO))
    return clip


def _encode(scorer: Scorer, name: Modality, clip: Clip, watch: Watch) -> dict[Modality, Tensor]:
    """The tokens of one modality; what its transforms take alone is taken first, and from the whole."""
    alone, whole = Watch(), Watch()
    contents = scorer.transforms.gather(name, clip)
    with alone.stage(name):
        run_micro_batches(
            lambda *batch: batch[0].flatten(1)[:, :1],
            contents.tensors,
            size=scorer.hops_per_batch(name),
            runtime=scorer.runtime,
            transform=partial(scorer.transforms.prepare, name),
        )
    with whole.stage(name):
        tokens = scorer.encode(clip, [name]).tokens
    watch.add("transform", alone.stages[name])
    watch.add(name, whole.stages[name] - alone.stages[name])
    return tokens


def _compare(scorer: ZeroShotScorer, encoded: EncodedClip, options: ResolvedOptions, watch: Watch) -> None:
    if options.choice is None:
        raise ValueError("this model takes the labels of a request")
    with watch.stage("labels"):
        for space, templates in options.choice.templates.items():
            scorer.embedder.embed_labels(space, options.choice.labels, templates)
    with watch.stage("fuse"):
        scorer.compare(encoded, options.choice)


def compile_encoders(pipeline: ActivityPipeline, backend: str) -> None:
    """Have torch compile the pretrained backbones when they first run."""
    for encoder in pipeline.scorer.model.encoders.values():
        if isinstance(encoder, PretrainedEncoder):
            encoder.backbone.compile(backend=backend)


def main() -> None:
    """Print what one checkpoint costs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--clip", type=Path, required=True)
    parser.add_argument("--words", type=Path, required=True, help="WebVTT")
    parser.add_argument("--labels", type=int, default=20, help="of a model whose labels are the request's choice")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--compiled", action="store_true", help="torch.compile the pretrained encoders")
    arguments = parser.parse_args()
    if arguments.device == "cuda":
        runtimes = {"GPU, compiled" if arguments.compiled else "GPU": choose_runtime(0)}
    else:
        runtimes = {ONE_THREAD: choose_runtime(threads=1), "2 threads": choose_runtime(threads=2)}
    measured = measure(
        arguments.checkpoint,
        arguments.clip,
        arguments.words,
        num_labels=arguments.labels,
        runtimes=runtimes,
        rounds=arguments.rounds,
        backend="inductor" if arguments.compiled else None,
    )
    json.dump(asdict(measured), sys.stdout)


if __name__ == "__main__":
    main()
