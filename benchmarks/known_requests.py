"""Requests that are all different, with answers that are all different and known from before.

So an answer that was lost, changed or given to somebody else is seen: the expected body is the request's digest.
"""

from __future__ import annotations

import base64
import io
import json
import wave
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from handler.pipeline import ActivityPipeline
from handler.request import BODY
from training.synth.samples import render_sample

SAMPLE_RATE = 16_000
VIDEO_LABELS = ("wave_rise_greet", "bounce_fall_leave", "wave_fall_leave")
VIDEO_SECONDS = 2.6
WORDS = [
    "hello",
    "welcome",
    "goodbye",
    "friend",
    "everyone",
    "morning",
    "evening",
    "wave",
    "ball",
    "tone",
    "falls",
    "rises",
    "up",
    "down",
    "stay",
    "leave",
]
KINDS = ("audio", "text", "video", "audio and text", "video and audio", "video and text")
"""What the requests are made of, one after the other."""

Form = Literal["parts", "raw", "json"]
FORMS: tuple[Form, ...] = ("parts", "raw", "json")


@dataclass(frozen=True)
class KnownRequest:
    """A request and its answer."""

    parts: Mapping[str, bytes] = field(repr=False)
    """What is sent, by name."""
    options: Mapping[str, Any]
    expected: bytes = field(repr=False)
    """The answer's body, as this process gave it alone."""


def make_requests(pipeline: ActivityPipeline, count: int, *, seed: int = 0) -> list[KnownRequest]:
    """Make ``count`` requests, small ones of several modalities, and answer each alone.

    Args:
        pipeline: answers them; its model knows video, audio and text.
        count: how many.
        seed: of tones, words and times.

    Raises:
        ValueError: two of them have the same answer, so that one could not be told from the other.
    """
    generator = np.random.default_rng(seed)
    videos = [render_sample((label,), (VIDEO_SECONDS,), seed=seed).video for label in VIDEO_LABELS]
    requests = []
    for index in range(count):
        kind = KINDS[index % len(KINDS)]
        parts: dict[str, bytes] = {}
        if "video" in kind:
            parts["video"] = videos[int(generator.integers(len(videos)))]
        if "audio" in kind:
            parts["audio"] = make_wav(generator)
        if "text" in kind:
            parts["text"] = make_words(generator)
        options: dict[str, Any] = {}
        if kind == "video":  # the same few clips: what is asked about them tells the answers apart
            options["include_labels"] = _labels_of_mask(pipeline.config.labels, 1 + index // len(KINDS))
        elif index % 2:
            options["extras"] = ["windows"]
        (response,) = pipeline.respond([as_raw(parts, options, "parts")], ["alone"])
        if response.status != 200:
            raise ValueError(f"request {index} ({kind}) was answered with {response.body.decode()}")
        requests.append(KnownRequest(parts, options, response.body))
    if len({request.expected for request in requests}) != len(requests):
        raise ValueError("two requests have the same answer: take another seed, or fewer")
    return requests


def _labels_of_mask(labels: Sequence[str], mask: int) -> list[str]:
    return [label for place, label in enumerate(labels) if mask >> place & 1]


def as_raw(parts: Mapping[str, bytes], options: Mapping[str, Any], form: Form) -> dict[str, Any]:
    """A request as the server hands it over that came as named parts, as one raw body or as JSON with base64.

    One raw body holds a video alone, without options: everything else goes as parts then.
    """
    if form == "raw" and parts.keys() == {"video"} and not options:
        return {BODY: bytearray(parts["video"])}
    if form == "json":
        media = {name: base64.b64encode(body).decode("ascii") for name, body in parts.items() if name != "text"}
        words = {"text": parts["text"].decode("utf-8")} if "text" in parts else {}
        return {BODY: {**media, **words, **({"options": dict(options)} if options else {})}}
    raw: dict[str, Any] = {name: bytearray(body) for name, body in parts.items()}
    return raw | ({"options": bytearray(json.dumps(dict(options)).encode())} if options else {})


def make_wav(generator: np.random.Generator) -> bytes:
    """A tone with some noise, 1 to 3 s long to the sample, as 16-bit PCM."""
    samples = int(generator.integers(SAMPLE_RATE, 3 * SAMPLE_RATE))
    hertz = generator.uniform(100, 3000)
    tone = 0.4 * np.sin(2 * np.pi * hertz * np.arange(samples) / SAMPLE_RATE)
    values = np.round(32767 * (tone + 0.02 * generator.standard_normal(samples)).clip(-1, 1)).astype("<i2")
    file = io.BytesIO()
    with wave.open(file, "wb") as output:
        output.setnchannels(1)
        output.setsampwidth(2)
        output.setframerate(SAMPLE_RATE)
        output.writeframes(values.tobytes())
    return file.getvalue()


def make_words(generator: np.random.Generator) -> bytes:
    """WebVTT with two cues that end at a millisecond of their own."""
    ends = np.sort(generator.integers(500, 4000, 2)) + np.array([0, 1])
    words = [" ".join(generator.choice(WORDS, 4)) for _ in ends]
    starts = (0, int(ends[0]))
    cues = [
        f"00:{start // 1000:02d}.{start % 1000:03d} --> 00:{end // 1000:02d}.{end % 1000:03d}\n{line}\n"
        for start, end, line in zip(starts, ends.tolist(), words, strict=True)
    ]
    return ("WEBVTT\n\n" + "\n".join(cues)).encode()
