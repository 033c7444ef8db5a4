"""Whole generative models that stand beside a model's own weights: one that hears words, one that says what it sees."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from models.pretrained.config import COMMIT
from models.settings import PositiveFloat, PositiveInt, Settings


class SideModelConfig(Settings):
    """Where a side model comes from: a folder, or a name on the model hub, which needs the commit as ``revision``.

    It is copied into the checkpoint (:func:`models.side_models.copy_side_models`), so it is sought only once.
    """

    source: Annotated[str, Field(min_length=1)]
    revision: Annotated[str, Field(pattern=COMMIT)] | None = None


class TranscriberConfig(SideModelConfig):
    """Whisper (arXiv 2212.04356): the words of a clip's sound, with their times.

    ``language`` is one of its languages, such as ``english`` or ``en``; null lets it find out. ``task`` ``translate``
    gives English words whatever is spoken. ``max_new_tokens`` bounds what it may say of 30 s of sound, ``max_seconds``
    the sound that is taken: a batch of eight such clips, one after the other, has to be done within the archive's
    ``responseTimeout``, after which TorchServe kills the worker. Whisper base takes half a second of a core for each
    second of sound; with a GPU, or fewer clips a batch, more can be allowed.
    """

    language: Annotated[str, Field(min_length=2)] | None = None
    task: Literal["transcribe", "translate"] = "transcribe"
    max_new_tokens: Annotated[int, Field(ge=1, le=440)] = 256
    max_seconds: PositiveFloat = 60.0


class CaptionerConfig(SideModelConfig):
    """A captioner: one sentence for each segment, of the frame at its middle.

    ``prompt`` is what it is asked (a LLaVA-like model) or how its sentence begins (BLIP); where the model has a chat
    template it is the user's turn in it, else it is given as it stands, the place of the picture included.
    ``max_segments``: of more segments the longest ones are described.
    """

    prompt: str | None = None
    max_new_tokens: Annotated[int, Field(ge=1, le=512)] = 40
    max_segments: PositiveInt = 16
