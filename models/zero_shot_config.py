"""Labels that are chosen when a clip is asked about: the text towers, the templates, the modalities' weights."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from models.pretrained.config import PretrainedConfig
from models.settings import PositiveFloat, PositiveInt, Settings

PLACE = "{}"
"""What a template has where the label goes."""
MAX_LABEL_CHARACTERS = 200
ALL_SPACES = "all"
"""What stands for every space where templates are given by space."""

Cosine = Annotated[float, Field(ge=-1.0, le=1.0, allow_inf_nan=False)]
SpaceName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]


def clean_label(text: str) -> str:
    """A label as it is compared and answered: Unicode's composed form (NFC), each run of white space one space.

    Raises:
        ValueError: nothing is left, it is too long, or it has what no text has.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as exc:  # JSON can spell half of a surrogate pair
        raise ValueError("must be valid Unicode") from exc
    cleaned = " ".join(unicodedata.normalize("NFC", text).split())
    if all(unicodedata.category(character) in {"Cf", "Zs"} for character in cleaned):  # spaces of no width among them
        raise ValueError("must not be blank")
    if len(cleaned) > MAX_LABEL_CHARACTERS:
        raise ValueError(f"must have at most {MAX_LABEL_CHARACTERS} characters, got {len(cleaned)}")
    if any(unicodedata.category(character) == "Cc" for character in cleaned):
        raise ValueError("must have no control characters")
    return cleaned


def clean_template(text: str) -> str:
    """A template as it is used, cleaned like a label.

    Raises:
        ValueError: it is no text as a label may be, or the label has not exactly one place in it.
    """
    cleaned = clean_label(text)
    if cleaned.count(PLACE) != 1:
        raise ValueError(f"must have exactly one {PLACE}, where the label goes")
    return cleaned


Label = Annotated[str, AfterValidator(clean_label)]
Template = Annotated[str, AfterValidator(clean_template)]


class SpaceConfig(Settings):
    """An embedding space: the encoders of ``modalities`` and the tower ``text`` lead into it.

    ``templates``: a label's embedding is the mean of those of its sentences, made of length 1 again.
    ``none_threshold``: the cosine of a window and a label below which "none of these" is the better answer.
    """

    modalities: Annotated[tuple[str, ...], Field(min_length=1)]
    text: PretrainedConfig
    templates: Annotated[tuple[Template, ...], Field(min_length=1)] = (PLACE,)
    none_threshold: Cosine | None = None

    @model_validator(mode="after")
    def _gives_embeddings(self) -> Self:
        if self.text.output != "embedding":
            raise ValueError("a text tower gives embeddings: text.output must be embedding")
        return self


class ZeroShotConfig(Settings):
    """Recognition of labels that no training has seen.

    ``weights`` are the modalities' in the mean of their scores, over those that a window has; 1 where none is given.
    ``none_label`` is answered where nothing fits. ``max_labels`` and ``max_texts``, labels times templates, bound what
    a request may ask. ``probes`` are the modalities with a linear head that ``activity fit`` has fitted: with these the
    model's own labels are the only ones.
    """

    spaces: Annotated[dict[SpaceName, SpaceConfig], Field(min_length=1)]
    weights: dict[str, PositiveFloat] = Field(default_factory=dict)
    none_label: Label | None = None
    max_labels: PositiveInt = 100
    max_texts: PositiveInt = 300
    probes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if ALL_SPACES in self.spaces:
            raise ValueError(f"a space cannot be named {ALL_SPACES}: the name stands for each of them")
        names = self.modalities
        if len(set(names)) != len(names):
            raise ValueError("a modality can be in one space only")
        for key, given in (("weights", self.weights), ("probes", self.probes)):
            unknown = set(given) - set(names)
            if unknown:
                raise ValueError(f"{key} names {', '.join(sorted(unknown))}, which is in no space")
        lacking = [name for name, space in self.spaces.items() if space.none_threshold is None]
        if self.none_label is not None and lacking:
            raise ValueError(f"none_label needs a none_threshold in each space: {', '.join(lacking)} has none")
        if self.none_label is not None and self.probes:
            raise ValueError("none_label needs labels of each request: with probes it must be left out")
        return self

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities of all spaces."""
        return tuple(name for space in self.spaces.values() for name in space.modalities)

    @property
    def takes_labels(self) -> bool:
        """Whether a request may name labels."""
        return not self.probes

    def weight(self, modality: str) -> float:
        """The weight of a modality's scores."""
        return self.weights.get(modality, 1.0)

    def space_of(self, modality: str) -> str:
        """The space that a modality's encoder leads into.

        Raises:
            KeyError: the modality is in none.
        """
        return {name: space for space, config in self.spaces.items() for name in config.modalities}[modality]

    def check(self, encoders: Mapping[str, PretrainedConfig | None], labels: tuple[str, ...]) -> None:
        """Check what only the whole model knows.

        Args:
            encoders: for each of its modalities the pretrained encoder, if it is one.
            labels: the model's own labels; may be empty.

        Raises:
            ValueError: a modality is in no space, an encoder does not lead into one, or a label cannot be one.
        """
        if set(encoders) != set(self.modalities):
            raise ValueError(
                f"zero_shot.spaces must name each modality of the model once: they name {_listed(self.modalities)}, "
                f"the model has {_listed(encoders)}; set the others to null"
            )
        unfit = [name for name, encoder in encoders.items() if encoder is None or encoder.output != "embedding"]
        if unfit:
            raise ValueError(
                f"a model with zero_shot needs pretrained encoders whose output is embedding: {_listed(unfit)} has none"
            )
        changed = [label for label in labels if clean_label(label) != label]
        if changed:
            raise ValueError(f"label {changed[0]!r} must be written {clean_label(changed[0])!r}")
        if self.none_label in labels:
            raise ValueError(f"none_label {self.none_label!r} is added to the labels: leave it out of them")
        if self.probes and not labels:
            raise ValueError("a model with probes has labels")


def _listed(names: Mapping[str, object] | tuple[str, ...] | list[str]) -> str:
    return ", ".join(sorted(names)) or "none"
