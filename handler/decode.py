"""From a request's bytes to a :class:`handler.clip.Clip`: what each modality gives, on one time axis.

The schedule is known before a frame is decoded: the containers are indexed first, and only then are the frames that
the schedule needs decoded. A modality that cannot be used is a status of the clip; only a request with nothing usable
is an error. What has times says how long the clip is: picture, depth, sound and sequences of vectors; words do so only
where they stand alone, so that cues far outside the media cost nothing. A picture that is no video and the row of a
table stand on every hop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from handler.audio import decode_waveform
from handler.clip import Clip, ModalityStatus, Row, VectorSequence, Waveform, Words
from handler.container import Container, open_container
from handler.errors import ActivityError, LimitExceeded, NoUsableModality, UndecodableMedia
from handler.image import decode_image
from handler.limits import Limits
from handler.picture import Geometry
from handler.request import ActivityRequest
from handler.tabular import parse_row
from handler.text import parse_text
from handler.vectors import cut_vectors, parse_vectors
from handler.video import decode_frames
from handler.windows import Schedule, Span, build_schedule
from models.config import Modality, ModelConfig
from models.encoder_config import AudioConfig, ImageConfig, VectorConfig, VideoConfig
from models.pretrained.pictures import build_geometry

Content = TypeVar("Content")
Transcribe = Callable[[Waveform], Words]
"""From sound at ``SPEECH_RATE`` to its words."""

SPEECH_RATE = 16_000
"""Hz; what a transcriber hears."""

ALWAYS_LISTED: tuple[Modality, ...] = ("video", "audio", "text")
"""Modalities whose status every answer says; of the others those that the model has or the request sent."""


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
class _Picture:
    """Frames to be decoded: of the video, or of the depth."""

    container: Container
    span: Span
    config: VideoConfig


@dataclass(frozen=True)
class _Part(Generic[Content]):
    """What a modality gives to the hops of the schedule."""

    content: Content
    mask: NDArray[np.bool_]
    """``(N,)``: True where the hop has it."""


@dataclass(frozen=True)
class _Timed:
    """What has times, before the schedule is laid over it."""

    pictures: Mapping[Modality, _Picture | _Unused]
    waveform: Waveform | _Unused
    sequences: Mapping[Modality, VectorSequence | _Unused]
    words: Words | _Unused


def decode_request(
    request: ActivityRequest, config: ModelConfig, limits: Limits, transcribe: Transcribe | None = None
) -> Clip:
    """Decode the modalities that the model has and the request gives.

    With ``transcribe`` the words are those of the sound, and the request has none of its own.

    Raises:
        LimitExceeded: what has times spans together more seconds than allowed.
        NoUsableModality: nothing can be used; with the reasons by modality.
        ActivityError: nothing can be used, one part was sent, and this is its only fault.
    """
    with ExitStack() as stack:
        listens = config.audio is not None or transcribe is not None
        media = _open(request.video, limits, stack) if config.video or listens else _NOT_SENT
        sound = _open(request.audio, limits, stack) if request.audio is not None and listens else media
        depth = _open(request.depth, limits, stack) if config.depth else _NOT_SENT
        heard = _NOT_SENT if transcribe is None else _hear(sound, request, transcribe, limits)
        timed = _Timed(
            pictures={"video": _picture(media, config.video), "depth": _picture(depth, config.depth)},
            waveform=_decode_sound(sound, config, limits),
            sequences={name: _parse_sequence(name, request, config, limits) for name in config.vectors},
            words=_parse_words(request.text, config, limits) if transcribe is None or config.text is None else heard,
        )
        schedule, frames = _decode_pictures(timed, config, limits)
    image, row = _image_part(request, config, schedule, limits), _row_part(request, config, schedule, limits)
    audio, text = _audio_part(timed.waveform, schedule, config.audio), _text_part(timed.words, schedule)
    sequences = {name: _vector_part(it, schedule, config.vectors[name]) for name, it in timed.sequences.items()}
    parts: dict[Modality, _Part[Any] | _Unused] = {
        "video": frames["video"],
        "audio": audio,
        "text": text,
        "image": image,
        "tabular": row,
        "depth": frames["depth"],
        **sequences,
    }
    listed = {*ALWAYS_LISTED, *config.modalities, *request.parts}
    parts = {name: part for name, part in parts.items() if name in listed}
    unused = {name: part for name, part in parts.items() if isinstance(part, _Unused)}
    if len(unused) == len(parts):
        raise _nothing_usable(request, config, unused)
    return Clip(
        schedule=schedule,
        modalities={name: _status(unused.get(name)) for name in parts},
        frames=_content(frames["video"]),
        samples=_content(audio),
        texts=_content(text),
        image=_content(image),
        row=_content(row),
        depth=_content(frames["depth"]),
        vectors={name: part.content for name, part in sequences.items() if not isinstance(part, _Unused)},
        masks={name: part.mask for name, part in parts.items() if not isinstance(part, _Unused)},
        transcript=None if transcribe is None else () if isinstance(heard, _Unused) else heard.cues,
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


def _picture(media: Container | _Unused, config: VideoConfig | None) -> _Picture | _Unused:
    """The picture of a container, before any of it is decoded."""
    if config is None:
        return _NOT_IN_MODEL
    if isinstance(media, _Unused):
        return media
    if media.video is None:
        return _Unused("not_sent", "the container has no picture")
    return _Picture(media, media.video.span, config)


def _decode_sound(sound: Container | _Unused, config: ModelConfig, limits: Limits) -> Waveform | _Unused:
    audio = config.audio
    if audio is None:
        return _NOT_IN_MODEL
    if isinstance(sound, _Unused):
        return sound
    if sound.audio is None:
        return _Unused("not_sent", "the container has no sound")
    return _attempt(lambda: decode_waveform(sound, audio.sample_rate, limits))


def _hear(
    sound: Container | _Unused, request: ActivityRequest, transcribe: Transcribe, limits: Limits
) -> Words | _Unused:
    """The words of the sound, decoded at the rate that the transcriber hears.

    It is opened anew: a decoder that has been at a stream's end cuts its start otherwise when it begins again.
    """
    if isinstance(sound, _Unused):
        return _Unused("not_sent", "no sound to transcribe was sent") if sound is _NOT_SENT else sound
    if sound.audio is None:
        return _Unused("not_sent", "the container has no sound to transcribe")
    data = request.video if request.audio is None else request.audio
    with ExitStack() as stack:
        again = _open(data, limits, stack)
        if isinstance(again, _Unused):
            return again
        return _attempt(lambda: transcribe(decode_waveform(again, SPEECH_RATE, limits)))


def _parse_words(text: bytes | str | None, config: ModelConfig, limits: Limits) -> Words | _Unused:
    if config.text is None:
        return _NOT_IN_MODEL
    return _NOT_SENT if text is None else _attempt(lambda: parse_text(text, limits))


def _parse_sequence(
    name: Modality, request: ActivityRequest, config: ModelConfig, limits: Limits
) -> VectorSequence | _Unused:
    if name not in request.vectors:
        return _NOT_SENT
    return _attempt(lambda: parse_vectors(request.vectors[name], config.vectors[name], limits))


def _lay_schedule(timed: _Timed, config: ModelConfig, limits: Limits) -> Schedule:
    """Lay the schedule over what has times; over the cues where that is nothing, one window without cues."""
    contents = (*timed.pictures.values(), timed.waveform, *timed.sequences.values())
    spans = [content.span for content in contents if not isinstance(content, _Unused)]
    if not spans and not isinstance(timed.words, _Unused):
        heard_in = timed.words.heard_in
        spans = [heard_in] if heard_in else [Span(cue.start_seconds, cue.stop_seconds) for cue in timed.words.cues]
    if not spans:
        spans = [Span(0.0, config.windows.window_seconds)]
    span = Span(min(s.start_seconds for s in spans), max(s.stop_seconds for s in spans))
    if span.duration_seconds > limits.max_duration_seconds:
        raise LimitExceeded(
            f"the clip spans {span.duration_seconds:.1f} s, at most {limits.max_duration_seconds:g} s are allowed",
            remedy="Send it in shorter pieces, and sound that begins with its picture.",
        )
    return build_schedule(span, config.windows)


def _decode_pictures(
    timed: _Timed, config: ModelConfig, limits: Limits
) -> tuple[Schedule, dict[Modality, _Part[NDArray[np.uint8]] | _Unused]]:
    """Decode the frames that the schedule needs; where a picture fails, the clip is what the others cover."""
    while True:
        schedule = _lay_schedule(timed, config, limits)
        parts = {name: _frames_part(picture, schedule, limits) for name, picture in timed.pictures.items()}
        failed = {name: part for name, part in parts.items() if isinstance(part, _Unused)}
        if all(isinstance(timed.pictures[name], _Unused) for name in failed):
            break
        timed = replace(timed, pictures={**timed.pictures, **failed})
    if not isinstance(parts["depth"], _Unused):
        parts["depth"] = replace(parts["depth"], content=to_grey(parts["depth"].content))
    return schedule, parts


def _frames_part(picture: _Picture | _Unused, schedule: Schedule, limits: Limits) -> _Part[NDArray[np.uint8]] | _Unused:
    if isinstance(picture, _Unused):
        return picture
    times = schedule.frame_times(picture.config.frames_per_hop)
    frames = _attempt(lambda: decode_cropped(picture.container, times, picture.config, limits))
    return frames if isinstance(frames, _Unused) else _Part(frames, schedule.hop_mask(picture.span))


def decode_cropped(
    container: Container, times: NDArray[np.float64], config: VideoConfig, limits: Limits
) -> NDArray[np.uint8]:
    """The frames at ``times``, upright and cropped: ``times.shape + (3, size, size)`` uint8.

    Raises:
        ActivityError: as :func:`handler.video.decode_frames`.
    """
    size, crop = config.size, config.crop
    if crop is None:
        return decode_frames(container, times, size, limits, geometry_of(config))
    whole, left, top = crop.pixels(size)
    frames = decode_frames(container, times, whole, limits)
    return frames[..., top : top + size, left : left + size].copy()  # the rest is not held on to


def geometry_of(config: VideoConfig | ImageConfig) -> Geometry | None:
    """A pretrained encoder's own resizing and cropping, where the model has one."""
    return None if config.pretrained is None else build_geometry(config.pretrained)


def to_grey(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The mean of the three colours, rounded: ``(..., 3, H, W)`` uint8 to ``(..., 1, H, W)``.

    A grey picture of 10, 12 or 16 bits comes with its whole range scaled to 0 .. 255.
    """
    total = frames.sum(axis=-3, dtype=np.uint16, keepdims=True)
    return np.asarray((total + 1) // 3, dtype=np.uint8)


def _image_part(
    request: ActivityRequest, config: ModelConfig, schedule: Schedule, limits: Limits
) -> _Part[NDArray[np.uint8]] | _Unused:
    image, data = config.image, request.image
    if image is None:
        return _NOT_IN_MODEL
    if data is None:
        return _NOT_SENT
    return _everywhere(_attempt(lambda: decode_image(data, image.size, limits, geometry_of(image))), schedule)


def _row_part(
    request: ActivityRequest, config: ModelConfig, schedule: Schedule, limits: Limits
) -> _Part[Row] | _Unused:
    table, content = config.tabular, request.tabular
    if table is None:
        return _NOT_IN_MODEL
    if content is None:
        return _NOT_SENT
    return _everywhere(_attempt(lambda: parse_row(content, table, limits)), schedule)


def _everywhere(content: Content | _Unused, schedule: Schedule) -> _Part[Content] | _Unused:
    """What has no times stands on every hop."""
    return content if isinstance(content, _Unused) else _Part(content, np.ones(schedule.num_hops, dtype=np.bool_))


def _vector_part(
    sequence: VectorSequence | _Unused, schedule: Schedule, config: VectorConfig
) -> _Part[NDArray[np.float32]] | _Unused:
    if isinstance(sequence, _Unused):
        return sequence
    return _Part(cut_vectors(sequence, schedule, config), schedule.hop_mask(sequence.span))


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
    faults = {id(it.error): it.error for it in unused.values() if it.error is not None}
    if len(request.parts) == 1 and len(faults) == 1:
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
        ``(N, P)`` float32, P = samples of a hop + n_fft - hop_length; of a pretrained encoder samples of a hop.
    """
    hop_samples = round(schedule.stride_seconds * config.sample_rate)
    context = config.context_samples
    length = schedule.num_hops * hop_samples + context
    lead = round((waveform.start_seconds - schedule.span.start_seconds) * config.sample_rate) + context // 2
    padded = np.zeros(length, dtype=np.float32)
    source_start, target_start = max(0, -lead), max(0, lead)
    count = min(len(waveform.samples) - source_start, length - target_start)
    if count > 0:
        padded[target_start : target_start + count] = waveform.samples[source_start : source_start + count]
    windows = np.lib.stride_tricks.sliding_window_view(padded, hop_samples + context)[::hop_samples]
    return windows.copy()  # the view is read-only, and of a single hop it is contiguous already


def cut_words(words: Words, schedule: Schedule, first_hop: int = 0) -> tuple[str, ...]:
    """The words of each hop from ``first_hop`` on: those of the cues that overlap it, in order.

    Words without times stand on every hop.
    """
    if words.untimed is not None:
        return (words.untimed,) * (schedule.num_hops - first_hop)
    texts: list[dict[str, None]] = [{} for _ in range(schedule.num_hops - first_hop)]
    start, stride = schedule.span.start_seconds, schedule.stride_seconds
    for cue in words.cues:
        first = max(first_hop, int(np.floor((cue.start_seconds - start) / stride)))
        stop = min(schedule.num_hops, int(np.ceil((cue.stop_seconds - start) / stride)))
        for hop in range(first, stop):
            texts[hop - first_hop][cue.text] = None  # said once, however many cues repeat it
    return tuple(" ".join(parts) for parts in texts)
