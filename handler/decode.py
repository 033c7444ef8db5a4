"""From a request's bytes to a :class:`handler.clip.Clip`: what each modality gives, on one time axis.

The schedule is known before a frame is decoded: the containers are indexed first, and only then are the frames that
the schedule needs decoded. A modality that cannot be used is a status of the clip; only a request with nothing usable
is an error. Picture and sound say how long the clip is; words do so only where they stand alone, so that cues far
outside the media cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from handler.audio import decode_waveform
from handler.clip import Clip, ModalityStatus, Waveform, Words
from handler.container import Container, open_container
from handler.errors import ActivityError, LimitExceeded, NoUsableModality, UndecodableMedia
from handler.limits import Limits
from handler.request import ActivityRequest
from handler.text import parse_text
from handler.video import decode_frames
from handler.windows import Schedule, Span, build_schedule
from models.config import Modality, ModelConfig
from models.encoder_config import AudioConfig, VideoConfig

Content = TypeVar("Content")


@dataclass(frozen=True)
class _Unused:
    """Stands where a modality's content would: why there is none."""

    code: str
    reason: str
    error: ActivityError | None = None
    """What the attempt to decode it came to; None where there was nothing to decode."""


_NOT_SENT = _Unused("not_sent", "not sent")
_NOT_IN_MODEL = _Unused("not_in_model", "the model does not have it")


@dataclass(frozen=True)
class _Part(Generic[Content]):
    """What a modality gives to the hops of the schedule."""

    content: Content
    mask: NDArray[np.bool_]
    """``(N,)``: True where the hop has it."""


def decode_request(request: ActivityRequest, config: ModelConfig, limits: Limits) -> Clip:
    """Decode the modalities that the model has and the request gives.

    Raises:
        LimitExceeded: picture and sound together span more seconds than allowed.
        NoUsableModality: nothing can be used; with the reasons by modality.
        ActivityError: nothing can be used, one part was sent, and this is its only fault.
    """
    with ExitStack() as stack:
        media = _open(request.video, limits, stack) if config.video or config.audio else _NOT_SENT
        sound = _open(request.audio, limits, stack) if request.audio is not None and config.audio else media
        waveform = _decode_sound(sound, config, limits)
        words = _parse_words(request.text, config, limits)
        picture = _picture_span(media, config)
        schedule = _lay_schedule(picture, waveform, words, config, limits)
        video = _video_part(media, picture, schedule, config.video, limits)
        if isinstance(video, _Unused):  # the clip is what the others cover
            schedule = _lay_schedule(video, waveform, words, config, limits)
    audio = _audio_part(waveform, schedule, config.audio)
    text = _text_part(words, schedule)
    parts: dict[Modality, _Part[Any] | _Unused] = {"video": video, "audio": audio, "text": text}
    unused = {name: part for name, part in parts.items() if isinstance(part, _Unused)}
    if len(unused) == len(parts):
        raise _nothing_usable(request, config, unused)
    return Clip(
        schedule=schedule,
        modalities={name: _status(unused.get(name)) for name in parts},
        frames=_content(video),
        samples=_content(audio),
        texts=_content(text),
        masks={name: part.mask for name, part in parts.items() if not isinstance(part, _Unused)},
    )


def _attempt(step: Callable[[], Content]) -> Content | _Unused:
    """Run a step of one modality; what it raises is why that modality is not used."""
    try:
        return step()
    except ActivityError as error:
        return _Unused(error.code, error.message, error)
    except MemoryError:
        remedy = "Send a smaller file, or encode it anew."
        exhausted = UndecodableMedia("decoding needs more memory than is allowed", remedy=remedy)
        return _Unused(exhausted.code, exhausted.message, exhausted)


def _open(data: bytes | None, limits: Limits, stack: ExitStack) -> Container | _Unused:
    if data is None:
        return _NOT_SENT
    return _attempt(lambda: stack.enter_context(open_container(data, limits)))


def _picture_span(media: Container | _Unused, config: ModelConfig) -> Span | _Unused:
    """When the picture is shown, before any of it is decoded."""
    if config.video is None:
        return _NOT_IN_MODEL
    if isinstance(media, _Unused):
        return media
    return _Unused("not_sent", "the container has no picture") if media.video is None else media.video.span


def _decode_sound(sound: Container | _Unused, config: ModelConfig, limits: Limits) -> Waveform | _Unused:
    audio = config.audio
    if audio is None:
        return _NOT_IN_MODEL
    if isinstance(sound, _Unused):
        return sound
    if sound.audio is None:
        return _Unused("not_sent", "the container has no sound")
    return _attempt(lambda: decode_waveform(sound, audio.sample_rate, limits))


def _parse_words(text: bytes | str | None, config: ModelConfig, limits: Limits) -> Words | _Unused:
    if config.text is None:
        return _NOT_IN_MODEL
    return _NOT_SENT if text is None else _attempt(lambda: parse_text(text, limits))


def _lay_schedule(
    picture: Span | _Unused,
    waveform: Waveform | _Unused,
    words: Words | _Unused,
    config: ModelConfig,
    limits: Limits,
) -> Schedule:
    """Lay the schedule over picture and sound; over the cues where neither is used, one window without cues."""
    spans = [] if isinstance(picture, _Unused) else [picture]
    if not isinstance(waveform, _Unused):
        spans.append(waveform.span)
    if not spans and not isinstance(words, _Unused):
        spans = [Span(cue.start_seconds, cue.stop_seconds) for cue in words.cues]
    if not spans:
        spans = [Span(0.0, config.windows.window_seconds)]
    span = Span(min(s.start_seconds for s in spans), max(s.stop_seconds for s in spans))
    if span.duration_seconds > limits.max_duration_seconds:
        raise LimitExceeded(
            f"the clip spans {span.duration_seconds:.1f} s, at most {limits.max_duration_seconds:g} s are allowed",
            remedy="Send it in shorter pieces, and sound that begins with its picture.",
        )
    return build_schedule(span, config.windows)


def _video_part(
    media: Container | _Unused, picture: Span | _Unused, schedule: Schedule, video: VideoConfig | None, limits: Limits
) -> _Part[NDArray[np.uint8]] | _Unused:
    if video is None:
        return _NOT_IN_MODEL
    if isinstance(media, _Unused):
        return media
    if isinstance(picture, _Unused):
        return picture
    times = schedule.frame_times(video.frames_per_hop)
    frames = _attempt(lambda: decode_frames(media, times, video.size, limits))
    return frames if isinstance(frames, _Unused) else _Part(frames, schedule.hop_mask(picture))


def _audio_part(
    waveform: Waveform | _Unused, schedule: Schedule, audio: AudioConfig | None
) -> _Part[NDArray[np.float32]] | _Unused:
    if audio is None:
        return _NOT_IN_MODEL
    if isinstance(waveform, _Unused):
        return waveform
    return _Part(cut_samples(waveform, schedule, audio), schedule.hop_mask(waveform.span))


def _text_part(words: Words | _Unused, schedule: Schedule) -> _Part[tuple[str, ...]] | _Unused:
    if isinstance(words, _Unused):
        return words
    texts = cut_words(words, schedule)
    mask = np.array([bool(text) for text in texts])
    return _Part(texts, mask) if mask.any() else _Unused("not_sent", "no cue lies inside the clip")


def _content(part: _Part[Content] | _Unused) -> Content | None:
    return None if isinstance(part, _Unused) else part.content


def _status(unused: _Unused | None) -> ModalityStatus:
    if unused is None:
        return ModalityStatus(used=True)
    return ModalityStatus(used=False, code=unused.code, reason=unused.reason)


def _nothing_usable(request: ActivityRequest, config: ModelConfig, unused: Mapping[Modality, _Unused]) -> ActivityError:
    """The one fault of the one part that was sent, else all reasons."""
    num_parts = sum(part is not None for part in (request.video, request.audio, request.text))
    faults = {id(it.error): it.error for it in unused.values() if it.error is not None}
    if num_parts == 1 and len(faults) == 1:
        return next(iter(faults.values()))
    return NoUsableModality(
        "none of the modalities can be used: " + "; ".join(f"{name}: {it.reason}" for name, it in unused.items()),
        remedy=f"Send at least one of {', '.join(config.modalities)} in a form that decodes.",
        details={"modalities": {name: {"code": it.code, "reason": it.reason} for name, it in unused.items()}},
    )


def cut_samples(waveform: Waveform, schedule: Schedule, config: AudioConfig) -> NDArray[np.float32]:
    """Cut a waveform into hops, each with the context that its spectrogram frames need.

    A mel frame is centred on every ``hop_length``-th sample of the hop, half a hop length in, so a hop reaches
    ``(n_fft - hop_length) / 2`` samples to either side and no frame is computed twice. Where there is no sound there is
    silence.

    Returns:
        ``(N, P)`` float32, P = samples of a hop + n_fft - hop_length.
    """
    hop_samples = round(schedule.stride_seconds * config.sample_rate)
    context = config.n_fft - config.hop_length
    length = schedule.num_hops * hop_samples + context
    lead = round((waveform.start_seconds - schedule.span.start_seconds) * config.sample_rate) + context // 2
    padded = np.zeros(length, dtype=np.float32)
    source_start, target_start = max(0, -lead), max(0, lead)
    count = min(len(waveform.samples) - source_start, length - target_start)
    if count > 0:
        padded[target_start : target_start + count] = waveform.samples[source_start : source_start + count]
    windows = np.lib.stride_tricks.sliding_window_view(padded, hop_samples + context)[::hop_samples]
    return windows.copy()  # the view is read-only, and of a single hop it is contiguous already


def cut_words(words: Words, schedule: Schedule) -> tuple[str, ...]:
    """The words of each hop: those of the cues that overlap it, in order; words without times stand on every hop."""
    if words.untimed is not None:
        return (words.untimed,) * schedule.num_hops
    texts: list[dict[str, None]] = [{} for _ in range(schedule.num_hops)]
    start, stride = schedule.span.start_seconds, schedule.stride_seconds
    for cue in words.cues:
        first = max(0, int(np.floor((cue.start_seconds - start) / stride)))
        stop = min(schedule.num_hops, int(np.ceil((cue.stop_seconds - start) / stride)))
        for hop in range(first, stop):
            texts[hop][cue.text] = None  # said once, however many cues repeat it
    return tuple(" ".join(parts) for parts in texts)
