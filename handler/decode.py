"""From a request's bytes to a :class:`handler.clip.Clip`: what each modality gives, on one time axis.

The schedule is known before a frame is decoded: the containers are indexed first, and only then are the frames that
the schedule needs decoded. A modality that cannot be used is a status of the clip; only a request with nothing usable
is an error.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import TypeVar

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
from models.config import MODALITIES, AudioConfig, Modality, ModelConfig

Result = TypeVar("Result")


def decode_request(request: ActivityRequest, config: ModelConfig, limits: Limits) -> Clip:
    """Decode the modalities that the model has and the request gives.

    Raises:
        ActivityError: the one part's own error when only one was sent, else :class:`NoUsableModality` with the
            reasons by modality.
    """
    with ExitStack() as stack:
        return _Decoder(config, limits).decode(request, stack)


class _Decoder:
    """One request's decode: collects each modality's result or its error."""

    def __init__(self, config: ModelConfig, limits: Limits) -> None:
        self.config = config
        self.limits = limits
        self.errors: dict[Modality, ActivityError] = {}
        self.missing: dict[Modality, str] = {}
        self.spans: dict[Modality, Span] = {}

    def decode(self, request: ActivityRequest, stack: ExitStack) -> Clip:
        picture, sound = self._open(request, stack)
        words = self._words(request)
        waveform = self._waveform(sound)
        if picture is not None and picture.video is not None:
            self.spans["video"] = picture.video.span
        schedule = self._schedule(words)
        frames = self._frames(picture, schedule)
        if frames is None and picture is not None and self.spans.pop("video", None) is not None:
            schedule = self._schedule(words)  # the picture did not decode: the clip is what the others cover
        return self._clip(schedule, frames, waveform, words)

    def _open(self, request: ActivityRequest, stack: ExitStack) -> tuple[Container | None, Container | None]:
        """The containers that give the picture and the sound; the same one unless sound was sent on its own."""
        media = self._try(("video", "audio"), lambda: self._container(request.video, stack))
        if request.audio is None:
            sound = media
        else:
            self.errors.pop("audio", None)
            sound = self._try(("audio",), lambda: self._container(request.audio, stack))
        if request.video is None:
            self.missing["video"] = "not sent"
            if request.audio is None:
                self.missing["audio"] = "not sent"
        elif media is not None and media.video is None:
            self.missing["video"] = "the container has no picture"
        if sound is not None and sound.audio is None:
            self.missing["audio"] = "the container has no sound"
        return media, sound

    def _container(self, data: bytes | None, stack: ExitStack) -> Container | None:
        return None if data is None else stack.enter_context(open_container(data, self.limits))

    def _words(self, request: ActivityRequest) -> Words | None:
        if request.text is None:
            self.missing["text"] = "not sent"
            return None
        text = request.text
        words = self._try(("text",), lambda: parse_text(text, self.limits))
        if words is not None and words.cues:
            stop = max(cue.stop_seconds for cue in words.cues)
            self.spans["text"] = Span(min(words.cues[0].start_seconds, stop), stop)
        return words

    def _waveform(self, sound: Container | None) -> Waveform | None:
        audio = self.config.audio
        if sound is None or sound.audio is None or audio is None:
            return None
        waveform = self._try(("audio",), lambda: decode_waveform(sound, audio.sample_rate, self.limits))
        if waveform is not None:
            start = waveform.start_seconds
            self.spans["audio"] = Span(start, start + waveform.duration_seconds)
        return waveform

    def _schedule(self, words: Words | None) -> Schedule:
        """Lay the schedule over the media; over the words where there are no media."""
        spans = [self.spans[name] for name in ("video", "audio") if name in self.spans and self._has(name)]
        if not spans and "text" in self.spans:
            spans = [self.spans["text"]]
        if not spans:
            length = self.config.windows.window_seconds  # words without times, or nothing: one window
            spans = [Span(0.0, length if words is not None else 0.0)]
        span = Span(min(s.start_seconds for s in spans), max(s.stop_seconds for s in spans))
        if span.duration_seconds > self.limits.max_duration_seconds:
            raise LimitExceeded(
                f"the clip spans {span.duration_seconds:.1f} s, at most {self.limits.max_duration_seconds:g} s are "
                "allowed",
                remedy="Send it in shorter pieces.",
            )
        return build_schedule(span, self.config.windows)

    def _has(self, modality: Modality) -> bool:
        return modality in self.config.modalities

    def _frames(self, picture: Container | None, schedule: Schedule) -> NDArray[np.uint8] | None:
        video = self.config.video
        if picture is None or picture.video is None or video is None:
            return None
        times = schedule.frame_times(video.frames_per_hop)
        return self._try(("video",), lambda: decode_frames(picture, times, video.size, self.limits))

    def _clip(
        self,
        schedule: Schedule,
        frames: NDArray[np.uint8] | None,
        waveform: Waveform | None,
        words: Words | None,
    ) -> Clip:
        masks: dict[Modality, NDArray[np.bool_]] = {}
        samples = texts = None
        if frames is not None:
            masks["video"] = schedule.hop_mask(self.spans["video"])
        if waveform is not None and self.config.audio is not None:
            masks["audio"] = schedule.hop_mask(self.spans["audio"])
            samples = cut_samples(waveform, schedule, self.config.audio)
        if words is not None and self._has("text"):
            texts = cut_words(words, schedule)
            masks["text"] = np.array([bool(text) for text in texts])
            if not masks["text"].any():
                self.missing["text"] = "no cue lies inside the clip"
                del masks["text"]
                texts = None
        statuses = {name: self._status(name, name in masks) for name in MODALITIES}
        if not masks:
            raise self._nothing_usable(statuses)
        return Clip(schedule=schedule, modalities=statuses, frames=frames, samples=samples, texts=texts, masks=masks)

    def _status(self, modality: Modality, used: bool) -> ModalityStatus:
        if used:
            return ModalityStatus(used=True)
        if not self._has(modality):
            return ModalityStatus(used=False, code="not_in_model", reason="the model does not have it")
        if modality in self.errors:
            error = self.errors[modality]
            return ModalityStatus(used=False, code=error.code, reason=error.message)
        return ModalityStatus(used=False, code="not_sent", reason=self.missing.get(modality, "not sent"))

    def _nothing_usable(self, statuses: dict[Modality, ModalityStatus]) -> ActivityError:
        causes = {id(error): error for error in self.errors.values()}
        if len(causes) == 1 and len(self.missing) + len(self.errors) >= len(self.config.modalities):
            return next(iter(causes.values()))
        reasons = {name: {"code": status.code, "reason": status.reason} for name, status in statuses.items()}
        return NoUsableModality(
            "none of the modalities can be used: "
            + "; ".join(f"{name}: {status.reason}" for name, status in statuses.items()),
            remedy=f"Send at least one of {', '.join(self.config.modalities)} in a form that decodes.",
            details={"modalities": reasons},
        )

    def _try(self, modalities: tuple[Modality, ...], step: Callable[[], Result]) -> Result | None:
        """Run a step; what it raises becomes the error of these modalities."""
        try:
            return step()
        except ActivityError as error:
            for name in modalities:
                self.errors[name] = error
        except MemoryError:
            exhausted = UndecodableMedia(
                "decoding needs more memory than is allowed", remedy="Send a smaller file, or encode it anew."
            )
            for name in modalities:
                self.errors[name] = exhausted
        return None


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
    return np.ascontiguousarray(windows)


def cut_words(words: Words, schedule: Schedule) -> tuple[str, ...]:
    """The words of each hop: those of the cues that overlap it, in order; words without times stand on every hop."""
    if words.untimed is not None:
        return (words.untimed,) * schedule.num_hops
    texts: list[list[str]] = [[] for _ in range(schedule.num_hops)]
    start, stride = schedule.span.start_seconds, schedule.stride_seconds
    for cue in words.cues:
        first = max(0, int(np.floor((cue.start_seconds - start) / stride)))
        stop = min(schedule.num_hops, int(np.ceil((cue.stop_seconds - start) / stride)))
        for hop in range(first, stop):
            if cue.text not in texts[hop]:
                texts[hop].append(cue.text)
    return tuple(" ".join(parts) for parts in texts)
