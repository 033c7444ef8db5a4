"""Which pretrained encoder a modality has, and how much of it is trained further."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from models.settings import Fraction, PositiveFloat, PositiveInt, Settings

COMMIT = r"^[0-9a-f]{40}$"


class LoraConfig(Settings):
    """Low-rank adapters (LoRA, arXiv 2106.09685), trained through the peft library and merged into what is saved.

    ``targets``: names of the linear layers that get one, by their last part, for example ``q_proj``; null takes those
    of queries and values, as the paper does.
    """

    rank: PositiveInt = 8
    alpha: PositiveFloat = 16.0
    dropout: Fraction = 0.0
    targets: tuple[str, ...] | None = None


class PretrainedConfig(Settings):
    """A pretrained encoder.

    ``source`` is a folder with ``config.json`` and safetensors, or a name on the model hub, which needs ``revision``:
    the commit, 40 hexadecimal digits, so that the same recipe always means the same weights.

    ``tune``: ``frozen``; ``last`` trains the last ``last_blocks`` blocks; ``lora`` trains adapters alone; ``all``.

    ``span``: what the encoder sees at once: a ``hop``, whose tokens all windows share, or a whole ``window``, which is
    then encoded for itself, at as many times the cost as it has hops. For encoders of clips and of sound.

    ``output``: ``tokens`` are projected to the model's width; ``embedding`` gives the architecture's own joint
    embedding, of length 1 and of its own width, which its text tower shares.

    ``architecture`` and ``processor`` are the source's ``config.json`` and its preprocessing. A recipe leaves them out;
    they are read from the source and written here, so that a checkpoint is rebuilt without it.
    """

    source: Annotated[str, Field(min_length=1)]
    revision: Annotated[str, Field(pattern=COMMIT)] | None = None
    tune: Literal["frozen", "last", "lora", "all"] = "frozen"
    last_blocks: PositiveInt = 2
    lora: LoraConfig = LoraConfig()
    span: Literal["hop", "window"] = "hop"
    output: Literal["tokens", "embedding"] = "tokens"
    architecture: dict[str, Any] | None = None
    processor: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _read_whole(self) -> Self:
        if (self.architecture is None) != (self.processor is None):
            raise ValueError("architecture and processor come together, from the source: leave out both")
        if self.output == "embedding" and self.tune != "frozen":
            raise ValueError("output embedding is shared with a text tower that does not move: tune must be frozen")
        return self

    @property
    def is_resolved(self) -> bool:
        """Whether the source has been read."""
        return self.architecture is not None
