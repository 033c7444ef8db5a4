"""Labels that a request chooses: which they are, in which sentences they stand, and how much each modality counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from handler.errors import InvalidOptions
from models.config import Modality, ModelConfig
from models.zero_shot_config import ALL_SPACES, MAX_LABEL_CHARACTERS, ZeroShotConfig, clean_label, clean_template

LABELS_REMEDY = 'Send options such as {"labels": ["cutting onions", "pouring water"]}.'
_SHOWN_CHARACTERS = 60


def _by_space(value: Any) -> Any:
    """A bare list of templates holds for every space."""
    return {ALL_SPACES: value} if isinstance(value, list | tuple) else value


def _unique(labels: tuple[str, ...]) -> tuple[str, ...]:
    twice = [label for place, label in enumerate(labels) if label in labels[:place]]
    if twice:
        raise ValueError(f"must be unique, {twice[0][:_SHOWN_CHARACTERS]!r} stands there twice")
    return labels


_Text = Annotated[str, Field(strict=True, max_length=16 * MAX_LABEL_CHARACTERS)]  # before white space is taken out
_Weight = Annotated[float, Field(strict=True, ge=1e-6, le=1e6, allow_inf_nan=False)]

Labels = Annotated[
    tuple[Annotated[_Text, AfterValidator(clean_label)], ...], Field(min_length=1), AfterValidator(_unique)
]
"""Labels as a request sends them: cleaned, unique, at least one."""
_Templates = Annotated[tuple[Annotated[_Text, AfterValidator(clean_template)], ...], Field(min_length=1)]
TemplatesBySpace = Annotated[
    dict[str, _Templates], BeforeValidator(_by_space, json_schema_input_type=dict[str, _Templates] | _Templates)
]
"""For each space at least one template; under ``all`` those of every space."""
ByModality = dict[Modality, _Weight]


@dataclass(frozen=True)
class LabelChoice:
    """What is told apart, and how."""

    labels: tuple[str, ...]
    """At least one, without "none of these"."""
    templates: Mapping[str, tuple[str, ...]]
    """For each space at least one sentence with a place for the label."""
    weights: Mapping[Modality, float]
    """Of each modality in the mean of the scores."""


def default_choice(labels: Sequence[str], config: ZeroShotConfig) -> LabelChoice:
    """Labels with the archive's own templates and weights."""
    return LabelChoice(
        labels=tuple(labels),
        templates={name: space.templates for name, space in config.spaces.items()},
        weights={name: config.weight(name) for name in config.modalities},
    )


def choose_labels(
    labels: tuple[str, ...] | None,
    templates: Mapping[str, tuple[str, ...]] | None,
    weights: Mapping[Modality, float] | None,
    config: ModelConfig,
) -> tuple[tuple[str, ...], LabelChoice | None]:
    """The labels of an answer.

    Args:
        labels: the request's; None is the archive's own.
        templates: the request's, by space; None is the archive's.
        weights: the request's; None is the archive's.
        config: of the model.

    Returns:
        All labels in the order of the scores, "none of these" last; and what the model is asked, None where its labels
        are fixed.

    Raises:
        InvalidOptions: the model's labels are fixed, there are no labels at all, too many, or one that has nothing to
            be told apart from, or a template or a weight is of nothing that the model has.
    """
    zero_shot = config.zero_shot
    if zero_shot is None or not zero_shot.takes_labels:
        _refuse_choice({"labels": labels, "templates": templates, "weights": weights}, config)
        return config.labels, None
    chosen = config.labels if labels is None else labels
    if not chosen:
        raise InvalidOptions("options: this model has no labels of its own and none were sent", remedy=LABELS_REMEDY)
    default = default_choice(chosen, zero_shot)
    choice = LabelChoice(
        labels=chosen,
        templates={**default.templates, **_spread(templates or {}, zero_shot)},
        weights={**default.weights, **_known_weights(weights or {}, zero_shot)},
    )
    _check_number(choice, zero_shot)
    if zero_shot.none_label is None:
        if labels is not None:
            _refuse_one_label(labels, zero_shot)
        return chosen, choice
    if zero_shot.none_label in chosen:
        raise InvalidOptions(
            f"options: label {zero_shot.none_label!r} is what the model answers where no label fits",
            remedy="Leave it out of labels: it is always there.",
        )
    return (*chosen, zero_shot.none_label), choice


def _refuse_choice(given: Mapping[str, object], config: ModelConfig) -> None:
    named = [name for name, value in given.items() if value is not None]
    if named:
        raise InvalidOptions(
            f"options: {', '.join(named)} cannot be chosen, as this model's {len(config.labels)} labels are fixed",
            remedy="Leave it out; include_labels and exclude_labels choose among the model's labels. A request names "
            "labels of its own to a model that `activity assemble` made.",
        )


def _spread(templates: Mapping[str, tuple[str, ...]], config: ZeroShotConfig) -> dict[str, tuple[str, ...]]:
    """A request's templates for each space that it has some for."""
    unknown = [name for name in templates if name != ALL_SPACES and name not in config.spaces]
    if unknown:
        raise InvalidOptions(
            f"options: templates for unknown space {unknown[0][:_SHOWN_CHARACTERS]!r} "
            f"(known spaces: {', '.join(config.spaces)})",
            remedy=f"Send a list, which holds for each space, or an object with some of these or {ALL_SPACES!r}.",
        )
    everywhere = dict.fromkeys(config.spaces, templates[ALL_SPACES]) if ALL_SPACES in templates else {}
    return {**everywhere, **{name: own for name, own in templates.items() if name != ALL_SPACES}}


def _known_weights(weights: Mapping[Modality, float], config: ZeroShotConfig) -> Mapping[Modality, float]:
    unknown = [name for name in weights if name not in config.modalities]
    if unknown:
        raise InvalidOptions(
            f"options: a weight for unknown modality {unknown[0][:_SHOWN_CHARACTERS]!r} "
            f"(known modalities: {', '.join(config.modalities)})",
            remedy="Weigh the modalities that the model has.",
        )
    return weights


def _refuse_one_label(labels: Sequence[str], config: ZeroShotConfig) -> None:
    """A softmax over one label is 1 whatever is seen."""
    from models.pretrained.label_tower import comparison_of  # noqa: PLC0415 - what decodes does without torch

    shared = [name for name, space in config.spaces.items() if comparison_of(space.text).scoring == "softmax"]
    if len(labels) == 1 and shared:
        raise InvalidOptions(
            f"options: one label alone would always score 1 here, as the scores of {', '.join(shared)} share out 1 "
            "among the labels",
            remedy='Send what else it could be as well, for example "something else".',
        )


def _check_number(choice: LabelChoice, config: ZeroShotConfig) -> None:
    if len(choice.labels) > config.max_labels:
        raise InvalidOptions(
            f"options: {len(choice.labels)} labels, at most {config.max_labels} are allowed",
            remedy="Send fewer labels, or ask in several requests.",
        )
    num_texts = len(choice.labels) * max(map(len, choice.templates.values()))
    if num_texts > config.max_texts:
        raise InvalidOptions(
            f"options: labels times templates are {num_texts}, at most {config.max_texts} are allowed",
            remedy="Send fewer labels or fewer templates.",
        )
