"""Description: one line of words for each segment, of the frame at its middle, by a captioner in the checkpoint."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from handler.errors import InvalidOptions
from handler.looks import Picture
from handler.options import RequestOptions
from handler.runtime import Runtime
from handler.segments import Segment
from handler.side import load_side_model, one_line
from models.config import ModelConfig
from models.settings import SettingsError
from models.side_config import CaptionerConfig

Look = Callable[[Sequence[float]], Iterable[Picture | None]]
"""From times in seconds to what is seen then: :func:`handler.looks.look_at`."""

QUESTION = "Describe in one sentence what is happening."
"""What a captioner with a chat template is asked where its configuration has no prompt."""

_PROBE = np.full((3, 48, 64), 128, dtype=np.uint8)


class Describer:
    """A captioner: BLIP, or a LLaVA-like model.

    Args:
        folder: its files, as the transformers library has them.
        config: prompt and bounds.
        runtime: says the device. On a CPU it runs in float32.

    Raises:
        SettingsError: the folder holds none, or it does not take the prompt.
    """

    def __init__(self, folder: Path, config: CaptionerConfig, runtime: Runtime) -> None:
        from transformers import AutoModelForImageTextToText  # noqa: PLC0415 - a model without one does without it

        self._config = config
        self._model, self._processor = load_side_model(AutoModelForImageTextToText, folder, runtime)
        self._prompt = self._build_prompt()
        self._lock = threading.Lock()
        try:
            self._generate(_PROBE, max_new_tokens=1)
        except Exception as exc:  # whatever a model makes of a prompt without its picture's place
            raise SettingsError(f"the captioner does not take the prompt {self._prompt!r}: {exc}") from exc

    def describe(self, segments: Sequence[Segment], look: Look) -> tuple[Segment, ...]:
        """Segments with their descriptions, in the same order.

        Args:
            segments: of one clip.
            look: gives what is seen at some times.

        Of more than ``max_segments`` the longest are described, of equal ones the earlier; a segment whose frame does
        not decode, and all where neither video nor image was sent, stay as they are.
        """
        order = sorted(range(len(segments)), key=lambda place: _seconds(segments[place]), reverse=True)
        order = order[: self._config.max_segments]
        middles = [(segments[place].start_seconds + segments[place].stop_seconds) / 2 for place in order]
        described = list(segments)
        for place, picture in zip(order, look(middles), strict=True):
            if picture is not None:
                described[place] = replace(segments[place], description=self.sentence(picture))
        return tuple(described)

    def sentence(self, picture: Picture) -> str:
        """What the captioner says of a picture: one line of printable characters, perhaps empty."""
        with self._lock:
            return one_line(self._generate(picture, max_new_tokens=self._config.max_new_tokens))

    def _build_prompt(self) -> str | None:
        """The text that goes with each picture; None for a captioner that takes none."""
        if getattr(self._processor, "chat_template", None) is None:
            return self._config.prompt
        asked = [{"type": "image"}, {"type": "text", "text": self._config.prompt or QUESTION}]
        prompt: str = self._processor.apply_chat_template(
            [{"role": "user", "content": asked}], add_generation_prompt=True
        )
        return prompt

    def _generate(self, picture: Picture, *, max_new_tokens: int) -> str:
        """Greedily, since one picture has one answer."""
        given: dict[str, Any] = {"images": torch.from_numpy(np.ascontiguousarray(picture)), "return_tensors": "pt"}
        if self._prompt is not None:
            given["text"] = self._prompt
        inputs = self._processor(**given).to(self._model.device, self._model.dtype)
        with torch.inference_mode():
            (tokens,) = self._model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False, num_beams=1)
        asked = inputs["input_ids"][0] if "input_ids" in inputs else tokens[:0]
        # LLaVA repeats what it was asked; BLIP goes on with its beginning, which belongs to the sentence.
        repeats = len(tokens) >= len(asked) and torch.equal(tokens[: len(asked)], asked)
        text: str = self._processor.decode(tokens[len(asked) if repeats else 0 :], skip_special_tokens=True)
        return text


def check_descriptions(options: RequestOptions, config: ModelConfig) -> None:
    """Refuse a request for descriptions to a model without a captioner.

    Raises:
        InvalidOptions: it is one.
    """
    if "descriptions" in options.extras and config.captioner is None:
        raise InvalidOptions("options: this model has no captioner", remedy="Leave out the extra descriptions.")


def _seconds(segment: Segment) -> float:
    return segment.stop_seconds - segment.start_seconds
