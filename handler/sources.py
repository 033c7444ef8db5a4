"""What a request was sent with, opened but not decoded: containers, words, and sequences of vectors.

A modality that cannot be used is :class:`Unused` from here on; only a request with nothing usable is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TypeVar

from handler.audio import checked_sound, decode_waveform
from handler.clip import Cue, ModalityStatus, VectorSequence, Waveform, Words
from handler.container import Container, open_container
from handler.errors import ActivityError, LimitExceeded
from handler.limits import Limits
from handler.request import ActivityRequest
from handler.text import parse_text
from handler.vectors import parse_vectors
from handler.video import checked_picture
from handler.windows import Schedule, Span, build_schedule
from models.config import Modality, ModelConfig
from models.encoder_config import AudioConfig, VideoConfig

Content = TypeVar("Content")
Transcribe = Callable[[Waveform], Words]
"""From sound at ``SPEECH_RATE`` to its words."""

SPEECH_RATE = 16_000
"""Hz; what a transcriber hears."""


@dataclass(frozen=True)
class Unused:
    """Stands where a modality's content would: why there is none."""

    code: str
    reason: str
    error: ActivityError | None = None
    """What the attempt to decode it came to; None where there was nothing to decode."""

    @classmethod
    def of(cls, error: ActivityError) -> Unused:
        """What an attempt came to."""
        return cls(error.code, error.message, error)

    @property
    def status(self) -> ModalityStatus:
        """What the answer says of it."""
        return ModalityStatus(used=False, code=self.code, reason=self.reason)


NOT_SENT = Unused("not_sent", "not sent")
NOT_IN_MODEL = Unused("not_in_model", "the model does not have it")


@dataclass(frozen=True)
class Picture:
    """Frames to be decoded: of the video, or of the depth."""

    container: Container
    span: Span
    config: VideoConfig


@dataclass(frozen=True)
class Sound:
    """Sound to be decoded."""

    container: Container
    span: Span
    """Of its packets."""
    config: AudioConfig


@dataclass(frozen=True)
class Sources:
    """What a request was sent with, of what the model has."""

    pictures: Mapping[Modality, Picture | Unused]
    sound: Sound | Unused
    sequences: Mapping[Modality, VectorSequence | Unused]
    words: Words | Unused
    transcript: tuple[Cue, ...] | None = None
    """The words that were heard in the sound; None where nobody asked for them."""


def open_sources(
    request: ActivityRequest,
    config: ModelConfig,
    limits: Limits,
    stack: ExitStack,
    *,
    transcribe: Transcribe | None = None,
    failed: Mapping[Modality, ActivityError] | None = None,
) -> Sources:
    """Open what the model has and the request gives; picture and sound of one container are demuxed once.

    Args:
        request: what was sent.
        config: the model's.
        limits: bounds on what is opened.
        stack: closes the containers.
        transcribe: gives the words, of the sound, and the request has none of its own.
        failed: modalities that are left out, and why.
    """
    failed = failed or {}
    listens = config.audio is not None or transcribe is not None
    media = _open(request.video, limits, stack) if config.video or listens else NOT_SENT
    sound = _open(request.audio, limits, stack) if request.audio is not None and listens else media
    depth = _open(request.depth, limits, stack) if config.depth else NOT_SENT
    heard = NOT_SENT if transcribe is None else _hear(sound, request, transcribe, limits)

    def unless_failed(name: Modality, step: Callable[[], Content | Unused]) -> Content | Unused:
        return Unused.of(failed[name]) if name in failed else step()

    return Sources(
        pictures={
            "video": unless_failed("video", lambda: _picture(media, config.video, limits)),
            "depth": unless_failed("depth", lambda: _picture(depth, config.depth, limits)),
        },
        sound=unless_failed("audio", lambda: _sound(sound, config.audio, limits)),
        sequences={name: _parse_sequence(name, request, config, limits) for name in config.vectors},
        words=_parse_words(request.text, config, limits) if transcribe is None or config.text is None else heard,
        transcript=None if transcribe is None else () if isinstance(heard, Unused) else heard.cues,
    )


def attempt(step: Callable[[], Content]) -> Content | Unused:
    """Run a step of one modality; what it raises is why that modality is not used."""
    try:
        return step()
    except ActivityError as error:
        return Unused.of(error)
    except MemoryError:
        return Unused.of(out_of_memory())


def out_of_memory() -> LimitExceeded:
    """What a MemoryError says to a client."""
    remedy = "Send a smaller file, or encode it anew."
    return LimitExceeded("memory", "decoding needs more memory than is allowed", remedy=remedy)


def lay_schedule(sources: Sources, sound: Sound | Waveform | Unused, config: ModelConfig, limits: Limits) -> Schedule:
    """Lay the schedule over what has times; over the cues where that is nothing, one window without cues.

    Args:
        sources: what a request was sent with.
        sound: its sound, or what was decoded of it, whose span is truer.
        config: the model's.
        limits: bound on seconds.

    Raises:
        LimitExceeded: what has times spans together more seconds than allowed.
    """
    contents: Iterable[Picture | Sound | Waveform | VectorSequence | Unused] = (
        *sources.pictures.values(),
        sound,
        *sources.sequences.values(),
    )
    spans = [content.span for content in contents if not isinstance(content, Unused)]
    if not spans and not isinstance(sources.words, Unused):
        heard_in = sources.words.heard_in
        spans = [heard_in] if heard_in else [Span(cue.start_seconds, cue.stop_seconds) for cue in sources.words.cues]
    if not spans:
        spans = [Span(0.0, config.windows.window_seconds)]
    span = Span(min(s.start_seconds for s in spans), max(s.stop_seconds for s in spans))
    if span.duration_seconds > limits.max_duration_seconds:
        raise LimitExceeded(
            "seconds",
            f"the clip spans {span.duration_seconds:.3f} s, at most {limits.max_duration_seconds:g} s are allowed",
            remedy="Send it in shorter pieces, and sound that begins with its picture.",
        )
    return build_schedule(span, config.windows)


def _open(data: bytes | None, limits: Limits, stack: ExitStack) -> Container | Unused:
    if data is None:
        return NOT_SENT
    return attempt(lambda: stack.enter_context(open_container(data, limits)))


def _picture(media: Container | Unused, config: VideoConfig | None, limits: Limits) -> Picture | Unused:
    """The picture of a container, before any of it is decoded."""
    if config is None:
        return NOT_IN_MODEL
    if isinstance(media, Unused):
        return media
    if media.video is None:
        return Unused("not_sent", "the container has no picture")
    stream = attempt(lambda: checked_picture(media, limits))
    return stream if isinstance(stream, Unused) else Picture(media, stream.span, config)


def _sound(media: Container | Unused, config: AudioConfig | None, limits: Limits) -> Sound | Unused:
    """The sound of a container, before any of it is decoded."""
    if config is None:
        return NOT_IN_MODEL
    if isinstance(media, Unused):
        return media
    if media.audio is None:
        return Unused("not_sent", "the container has no sound")
    stream = attempt(lambda: checked_sound(media, limits))
    return stream if isinstance(stream, Unused) else Sound(media, stream.span, config)


def _hear(
    sound: Container | Unused, request: ActivityRequest, transcribe: Transcribe, limits: Limits
) -> Words | Unused:
    """The words of the sound, decoded at the rate that the transcriber hears.

    It is opened anew: a decoder that has been at a stream's end cuts its start otherwise when it begins again.
    """
    if isinstance(sound, Unused):
        return Unused("not_sent", "no sound to transcribe was sent") if sound is NOT_SENT else sound
    if sound.audio is None:
        return Unused("not_sent", "the container has no sound to transcribe")
    data = request.video if request.audio is None else request.audio
    with ExitStack() as stack:
        again = _open(data, limits, stack)
        if isinstance(again, Unused):
            return again
        return attempt(lambda: transcribe(decode_waveform(again, SPEECH_RATE, limits)))


def _parse_words(text: bytes | str | None, config: ModelConfig, limits: Limits) -> Words | Unused:
    if config.text is None:
        return NOT_IN_MODEL
    return NOT_SENT if text is None else attempt(lambda: parse_text(text, limits))


def _parse_sequence(
    name: Modality, request: ActivityRequest, config: ModelConfig, limits: Limits
) -> VectorSequence | Unused:
    if name not in request.vectors:
        return NOT_SENT
    return attempt(lambda: parse_vectors(request.vectors[name], config.vectors[name], limits))
