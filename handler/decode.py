"""From a request's bytes to a :class:`handler.clip.Clip`: what each modality gives, on one time axis.

The schedule is known before a frame is decoded: the containers are indexed first, and only then are the frames that
the schedule needs decoded. A modality that cannot be used is a status of the clip; only a request with nothing usable
is an error. What has times says how long the clip is: picture, depth, sound and sequences of vectors; words do so only
where they stand alone, so that cues far outside the media cost nothing. A picture that is no video and the row of a
table stand on every hop.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, Generic

import numpy as np
from numpy.typing import NDArray

from handler.audio import cut_hops, decode_waveform
from handler.clip import Clip, ModalityStatus, Row, VectorSequence, Waveform, Words
from handler.container import Container
from handler.errors import ActivityError, LimitExceeded, NoUsableModality
from handler.geometry import geometry_of
from handler.image import decode_image
from handler.limits import Limits
from handler.request import ActivityRequest
from handler.sources import (
    NOT_IN_MODEL,
    NOT_SENT,
    Content,
    Picture,
    Sound,
    Sources,
    Transcribe,
    Unused,
    attempt,
    lay_schedule,
    open_sources,
)
from handler.tabular import parse_row
from handler.vectors import cut_vectors
from handler.video import decode_frame_pieces
from handler.windows import Schedule
from models.config import Modality, ModelConfig
from models.encoder_config import AudioConfig, VectorConfig, VideoConfig

ALWAYS_LISTED: tuple[Modality, ...] = ("video", "audio", "text")
"""Modalities whose status every answer says; of the others those that the model has or the request sent."""

_TEXT_ON_HOPS = 25
"""How often the characters of as long a text as is allowed may stand on hops: subtitles do so some ten times. What is
more might not cross from a decode child, whose answers have at most :data:`handler.strict_json.MAX_VALUES` commas."""


@dataclass(frozen=True)
class Part(Generic[Content]):
    """What a modality gives to the hops of the schedule."""

    content: Content
    mask: NDArray[np.bool_]
    """``(N,)``: True where the hop has it."""


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
        sources = open_sources(request, config, limits, stack, transcribe=transcribe)
        return decode_sources(sources, request, config, limits)


def decode_sources(sources: Sources, request: ActivityRequest, config: ModelConfig, limits: Limits) -> Clip:
    """As :func:`decode_request`, of what is open already."""
    waveform = _decode_sound(sources.sound, limits)
    schedule, timed = _decode_pictures(sources, waveform, config, limits)
    timed["audio"] = _audio_part(waveform, schedule, config.audio)
    for name, sequence in sources.sequences.items():
        timed[name] = _vector_part(sequence, schedule, config.vectors[name])
    parts = list_parts(timed, sources, schedule, request, config, limits)
    return build_clip(parts, schedule, sources)


def list_parts(
    timed: Mapping[Modality, Part[Any] | Unused],
    sources: Sources,
    schedule: Schedule,
    request: ActivityRequest,
    config: ModelConfig,
    limits: Limits,
) -> dict[Modality, Part[Any] | Unused]:
    """What each modality gives of those whose status the answer says, in its order.

    Args:
        timed: picture, depth, sound and sequences.
        sources: what was opened.
        schedule: of the clip.
        request: what was sent.
        config: the model's.
        limits: bounds on a picture and a table.

    Raises:
        ActivityError: nothing can be used.
    """
    parts: dict[Modality, Part[Any] | Unused] = {
        "video": timed["video"],
        "audio": timed["audio"],
        "text": _text_part(sources.words, schedule, limits),
        "image": _image_part(request, config, schedule, limits),
        "tabular": _row_part(request, config, schedule, limits),
        "depth": timed["depth"],
        **{name: timed[name] for name in sources.sequences},
    }
    listed = {*ALWAYS_LISTED, *config.modalities, *request.parts}
    parts = {name: part for name, part in parts.items() if name in listed}
    unused = {name: part for name, part in parts.items() if isinstance(part, Unused)}
    if len(unused) == len(parts):
        raise nothing_usable(request, config, unused)
    return parts


def build_clip(parts: Mapping[Modality, Part[Any] | Unused], schedule: Schedule, sources: Sources) -> Clip:
    """Put together what the modalities give."""
    used = {name: part for name, part in parts.items() if not isinstance(part, Unused)}
    contents = {name: part.content for name, part in used.items()}
    return Clip(
        schedule=schedule,
        modalities={
            name: part.status if isinstance(part, Unused) else ModalityStatus(used=True) for name, part in parts.items()
        },
        frames=contents.get("video"),
        samples=contents.get("audio"),
        texts=contents.get("text"),
        image=contents.get("image"),
        row=contents.get("tabular"),
        depth=contents.get("depth"),
        vectors={name: contents[name] for name in sources.sequences if name in contents},
        masks={name: part.mask for name, part in used.items()},
        transcript=sources.transcript,
    )


def _decode_sound(sound: Sound | Unused, limits: Limits) -> Waveform | Unused:
    if isinstance(sound, Unused):
        return sound
    return attempt(lambda: decode_waveform(sound.container, sound.config.sample_rate, limits))


def _decode_pictures(
    sources: Sources, waveform: Waveform | Unused, config: ModelConfig, limits: Limits
) -> tuple[Schedule, dict[Modality, Part[Any] | Unused]]:
    """Decode the frames that the schedule needs; where a picture fails, the clip is what the others cover."""
    while True:
        schedule = lay_schedule(sources, waveform, config, limits)
        parts: dict[Modality, Part[Any] | Unused] = {
            name: _frames_part(picture, schedule, limits) for name, picture in sources.pictures.items()
        }
        failed = {name: part for name, part in parts.items() if isinstance(part, Unused)}
        if all(isinstance(sources.pictures[name], Unused) for name in failed):
            break
        sources = replace(sources, pictures={**sources.pictures, **failed})
    depth = parts["depth"]
    if not isinstance(depth, Unused):
        parts["depth"] = replace(depth, content=to_grey(depth.content))
    return schedule, parts


def _frames_part(picture: Picture | Unused, schedule: Schedule, limits: Limits) -> Part[NDArray[np.uint8]] | Unused:
    if isinstance(picture, Unused):
        return picture
    times = schedule.frame_times(picture.config.frames_per_hop)
    frames = attempt(lambda: decode_cropped(picture.container, times, picture.config, limits))
    return frames if isinstance(frames, Unused) else Part(frames, schedule.hop_mask(picture.span))


def decode_cropped(
    container: Container, times: NDArray[np.float64], config: VideoConfig, limits: Limits
) -> NDArray[np.uint8]:
    """The frames at ``times``, upright and cropped: ``times.shape + (3, size, size)`` uint8.

    Raises:
        ActivityError: as :func:`handler.video.decode_frames`.
    """
    (frames,) = decode_cropped_pieces(container, [times], config, limits)
    return frames


def decode_cropped_pieces(
    container: Container, times: Sequence[NDArray[np.float64]], config: VideoConfig, limits: Limits
) -> Iterator[NDArray[np.uint8]]:
    """For each piece the frames at its times, any shape S, upright and cropped: ``S + (3, size, size)`` uint8.

    Raises:
        ActivityError: as :func:`handler.video.decode_frame_pieces`.
    """
    size, crop = config.size, config.crop
    whole, left, top = (size, 0, 0) if crop is None else crop.pixels(size)

    def cropped(frames: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
        frames = frames.reshape(*shape, 3, whole, whole)
        # a copy, so that the rest is not held on to
        return frames if crop is None else frames[..., top : top + size, left : left + size].copy()

    pieces = decode_frame_pieces(container, [piece.ravel() for piece in times], whole, limits, geometry_of(config))
    for piece in times:
        yield cropped(next(pieces), piece.shape)  # no name here holds a piece while the next one is made


def to_grey(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The mean of the three colours, rounded: ``(..., 3, H, W)`` uint8 to ``(..., 1, H, W)``.

    A grey picture of 10, 12 or 16 bits comes with its whole range scaled to 0 .. 255.
    """
    total = frames.sum(axis=-3, dtype=np.uint16, keepdims=True)
    return np.asarray((total + 1) // 3, dtype=np.uint8)


def _image_part(
    request: ActivityRequest, config: ModelConfig, schedule: Schedule, limits: Limits
) -> Part[NDArray[np.uint8]] | Unused:
    image, data = config.image, request.image
    if image is None:
        return NOT_IN_MODEL
    if data is None:
        return NOT_SENT
    return _everywhere(attempt(lambda: decode_image(data, image.size, limits, geometry_of(image))), schedule)


def _row_part(request: ActivityRequest, config: ModelConfig, schedule: Schedule, limits: Limits) -> Part[Row] | Unused:
    table, content = config.tabular, request.tabular
    if table is None:
        return NOT_IN_MODEL
    if content is None:
        return NOT_SENT
    return _everywhere(attempt(lambda: parse_row(content, table, limits)), schedule)


def _everywhere(content: Content | Unused, schedule: Schedule) -> Part[Content] | Unused:
    """What has no times stands on every hop."""
    return content if isinstance(content, Unused) else Part(content, np.ones(schedule.num_hops, dtype=np.bool_))


def _vector_part(
    sequence: VectorSequence | Unused, schedule: Schedule, config: VectorConfig
) -> Part[NDArray[np.float32]] | Unused:
    if isinstance(sequence, Unused):
        return sequence
    return Part(cut_vectors(sequence, schedule, config), schedule.hop_mask(sequence.span))


def _audio_part(
    waveform: Waveform | Unused, schedule: Schedule, audio: AudioConfig | None
) -> Part[NDArray[np.float32]] | Unused:
    if audio is None:
        return NOT_IN_MODEL
    if isinstance(waveform, Unused):
        return waveform
    return Part(cut_samples(waveform, schedule, audio), schedule.hop_mask(waveform.span))


def _text_part(words: Words | Unused, schedule: Schedule, limits: Limits) -> Part[tuple[str, ...]] | Unused:
    if isinstance(words, Unused):
        return words
    texts = attempt(lambda: cut_words(words, schedule, limits))
    if isinstance(texts, Unused):
        return texts
    mask = np.array([bool(text) for text in texts])
    return Part(texts, mask) if mask.any() else Unused("not_sent", "no cue lies inside the clip")


def nothing_usable(request: ActivityRequest, config: ModelConfig, unused: Mapping[Modality, Unused]) -> ActivityError:
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
    lead = round((waveform.start_seconds - schedule.span.start_seconds) * config.sample_rate) + context // 2
    return cut_hops(waveform.samples, lead, schedule.num_hops, hop_samples, context)


def cut_words(words: Words, schedule: Schedule, limits: Limits, first_hop: int = 0) -> tuple[str, ...]:
    """The words of each hop from ``first_hop`` on: those of the cues that overlap it, in order.

    Words without times stand on every hop.

    Raises:
        LimitExceeded: cues that last long and overlap, whose words on all hops are too many characters.
    """
    if words.untimed is not None:
        return (words.untimed,) * (schedule.num_hops - first_hop)
    texts: list[dict[str, None]] = [{} for _ in range(schedule.num_hops - first_hop)]
    start, stride = schedule.span.start_seconds, schedule.stride_seconds
    left = most = _TEXT_ON_HOPS * limits.max_text_characters
    for cue in words.cues:
        first = max(first_hop, int(np.floor((cue.start_seconds - start) / stride)))
        stop = min(schedule.num_hops, int(np.ceil((cue.stop_seconds - start) / stride)))
        left -= max(0, stop - first) * len(cue.text)
        if left < 0:
            raise LimitExceeded(
                "text",
                f"the cues overlap so long that each {stride:g} s of them together have more than {most} characters",
                remedy="Send cues that last as long as their words.",
            )
        for hop in range(first, stop):
            texts[hop - first_hop][cue.text] = None  # said once, however many cues repeat it
    return tuple(" ".join(parts) for parts in texts)
