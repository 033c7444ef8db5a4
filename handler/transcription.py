"""Transcription: the words of a clip's sound, with their times, by a Whisper that stands in the checkpoint.

A request asks for it with the text ``auto`` or with the option ``transcribe``; what is heard then stands as the
clip's words, cut into hops as a client's cues are.
"""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from handler.clip import Cue, Waveform, Words
from handler.errors import InvalidOptions, LimitExceeded, UndecodableMedia
from handler.request import ActivityRequest
from handler.runtime import Runtime
from handler.side import load_side_model, one_line
from handler.sources import SPEECH_RATE
from models.config import ModelConfig
from models.settings import SettingsError
from models.side_config import TranscriberConfig

AUTO = "auto"
SHORTEST_SECONDS = 0.02
"""Whisper's unit of time: a word that starts and stops in the same one has this length."""
PASSES_PER_CHUNK = 4
"""Whisper goes on after the last whole sentence of 30 s, which at worst is a moment further: passes have a bound."""

_TRIED_TOKENS = 4


class Transcriber:
    """A Whisper.

    Args:
        folder: its files, as the transformers library has them.
        config: language, task and bounds.
        runtime: says the device. On a CPU it runs in float32, whatever autocast does elsewhere.

    Raises:
        SettingsError: the folder holds none, or it does not transcribe.
    """

    def __init__(self, folder: Path, config: TranscriberConfig, runtime: Runtime) -> None:
        from transformers import (  # noqa: PLC0415 - a model without a transcriber does without it
            AutomaticSpeechRecognitionPipeline,
            WhisperForConditionalGeneration,
            WhisperProcessor,
            WhisperTokenizer,
        )

        # Words are timed by the attention's weights, which only the plain implementation gives.
        model, processor = load_side_model(
            WhisperForConditionalGeneration, folder, runtime, attn_implementation="eager"
        )
        kinds = processor, getattr(processor, "tokenizer", None)
        if not isinstance(kinds[0], WhisperProcessor) or not isinstance(kinds[1], WhisperTokenizer):
            raise SettingsError(f"the checkpoint's {folder.name} has no processor of Whisper's: {type(processor)}")
        if processor.feature_extractor.sampling_rate != SPEECH_RATE:
            heard = processor.feature_extractor.sampling_rate
            raise SettingsError(f"a transcriber hears {SPEECH_RATE} Hz, the checkpoint's {folder.name} {heard} Hz")
        self._config = config
        self._spoken = _spoken(config, model.generation_config, processor.tokenizer)
        self._chunk_seconds = float(processor.feature_extractor.chunk_length)
        self._recognise: Any = AutomaticSpeechRecognitionPipeline(
            model=model,
            tokenizer=processor.tokenizer,
            feature_extractor=processor.feature_extractor,
            device=runtime.device,
        )
        self._lock = threading.Lock()  # the library's pipeline is one caller's at a time
        self._try()

    def hear(self, waveform: Waveform) -> Words:
        """The words of a sound.

        Args:
            waveform: at 16 kHz.

        Returns:
            a cue for each word, in order, on the sound's own timeline and inside it.

        Raises:
            LimitExceeded: the sound is too long, or the transcriber says too little of it at a time.
            UndecodableMedia: not one word was heard.
        """
        seconds = waveform.duration_seconds
        if seconds > self._config.max_seconds:
            raise LimitExceeded(
                "transcribed_seconds",
                f"the sound has {seconds:.1f} s, at most {self._config.max_seconds:g} s are transcribed",
                remedy="Send it in shorter pieces, or its words as text.",
            )
        cues = _cues(self._words(waveform), waveform)
        if not cues:
            raise UndecodableMedia("no words were heard in the sound", remedy="Send the words as text.")
        return Words(cues=cues, heard_in=waveform.span)

    def _try(self) -> None:
        """Hear a moment of silence: a configuration that the library cannot follow is said here, not to a request."""
        silence = Waveform(np.zeros(SPEECH_RATE, dtype=np.float32), SPEECH_RATE, 0.0)
        try:
            with warnings.catch_warnings(action="ignore"):  # the library's, of a pass that says one token
                self._words(silence, max_new_tokens=_TRIED_TOKENS)
        except LimitExceeded:
            return  # slow it may be
        except Exception as exc:
            raise SettingsError(f"the checkpoint's transcriber does not transcribe: {exc}") from exc

    def _words(self, waveform: Waveform, **changed: int) -> Sequence[dict[str, Any]]:
        """The library's words, each with ``text`` and ``timestamp`` in seconds."""
        with self._lock:
            heard = self._recognise(
                {"raw": waveform.samples, "sampling_rate": waveform.sample_rate},
                return_timestamps="word",
                generate_kwargs={**self._settings(waveform.duration_seconds), **changed},
            )
        words: list[dict[str, Any]] = heard["chunks"]
        return words

    def _settings(self, seconds: float) -> dict[str, Any]:
        """How Whisper decodes: greedily, since its fallback to sampling would answer differently each time."""
        most = PASSES_PER_CHUNK * math.ceil(max(seconds, self._chunk_seconds) / self._chunk_seconds)
        passes = 0

        def count(_progress: Tensor) -> None:
            nonlocal passes
            passes += 1
            if passes > most:
                raise LimitExceeded(
                    "transcription_passes",
                    f"the transcriber needs more than {most} passes for {seconds:.1f} s of sound",
                    remedy="Send the words as text.",
                )

        return {
            **self._spoken,
            "max_new_tokens": self._config.max_new_tokens,
            "do_sample": False,
            "num_beams": 1,
            "temperature": 0.0,
            "monitor_progress": count,
        }


def split_transcription(request: ActivityRequest, config: ModelConfig) -> tuple[ActivityRequest, bool]:
    """Whether a request wants its sound transcribed, and the request without the text that said so.

    It does where the option ``transcribe`` is true, or where the model has a transcriber and the text is ``auto``; a
    clip whose words are just that has ``transcribe`` false.

    Raises:
        InvalidOptions: the model has no transcriber, words were sent as well, or the extra ``transcript`` is asked for
            without a transcription.
    """
    options = request.options
    says_auto = config.transcriber is not None and options.transcribe is not False and _is_auto(request.text)
    wanted = says_auto or bool(options.transcribe)
    if wanted and config.transcriber is None:
        raise InvalidOptions("options: this model has no transcriber", remedy="Send the words as text.")
    if wanted and not says_auto and request.text is not None:
        raise InvalidOptions(
            "options: transcribe is true and words were sent as well", remedy="Send the one or the other."
        )
    if "transcript" in options.extras and not wanted:
        raise InvalidOptions(
            "options: the extra transcript needs a transcription", remedy='Send the text "auto", or transcribe true.'
        )
    return (replace(request, text=None) if says_auto else request), wanted


def _spoken(config: TranscriberConfig, generation: Any, tokenizer: Any) -> dict[str, str | None]:
    """What Whisper is told of language and task; one that knows English alone takes neither.

    Raises:
        SettingsError: it does not know the language.
    """
    if getattr(generation, "is_multilingual", True):
        try:
            tokenizer.set_prefix_tokens(language=config.language, task=config.task)
        except ValueError as exc:
            raise SettingsError(f"transcriber.language {config.language!r} is none of Whisper's: {exc}") from exc
        return {"language": config.language, "task": config.task}
    if config.language not in {None, "en", "english"} or config.task != "transcribe":
        raise SettingsError(
            f"the transcriber {config.source} knows English alone: leave out language {config.language!r}, and "
            "task translate"
        )
    return {}


def _is_auto(text: str | bytes | None) -> bool:
    if text is None or len(text) > 16:
        return False
    return (text.decode("utf-8", "replace") if isinstance(text, bytes) else text).removeprefix("\ufeff").strip() == AUTO


def _cues(words: Sequence[dict[str, Any]], waveform: Waveform) -> tuple[Cue, ...]:
    """The library's words as cues.

    Whisper hears 30 s at a time, silence after the sound included: words that begin there are none of the sound's, and
    one that ends there ends with the sound.
    """
    span = waveform.span
    latest = max(span.start_seconds, span.stop_seconds - SHORTEST_SECONDS)
    cues = []
    for word in words:
        start, stop = (span.start_seconds + (span.duration_seconds if at is None else at) for at in word["timestamp"])
        text = one_line(word["text"])
        if text and start <= span.stop_seconds:
            start = max(span.start_seconds, min(start, latest))  # of next to no sound the library's times are negative
            cues.append(Cue(start, max(min(stop, span.stop_seconds), start + SHORTEST_SECONDS), text))
    return tuple(sorted(cues, key=lambda cue: cue.start_seconds))
