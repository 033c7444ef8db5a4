"""Strict settings: an unknown key is an error that names the known ones."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]


class SettingsError(ValueError):
    """Settings that do not validate; the message names each faulty key, what is allowed, and the source."""


class Settings(BaseModel):
    """Base of all settings: frozen, no unknown keys, built with :meth:`read` from untyped data."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def read(cls, values: Mapping[str, Any], *, source: str) -> Self:
        """Validate ``values``.

        Args:
            values: keys and values as they came from YAML or JSON.
            source: what the message calls their origin, for example ``"options"`` or a file name.

        Raises:
            SettingsError: with one sentence for each faulty key.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as exc:
            raise SettingsError(f"{source}: {describe_faults(cls, exc)}") from exc

    @classmethod
    def read_yaml(cls, path: Path) -> Self:
        """Validate a YAML file that holds one mapping.

        Raises:
            SettingsError: when the file is no YAML, no mapping, or does not validate.
        """
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as exc:
            raise SettingsError(f"{path.name} is no YAML: {exc}") from exc
        if not isinstance(values, dict):
            raise SettingsError(f"{path.name}: expected a mapping of keys to values, got {type(values).__name__}")
        return cls.read(values, source=path.name)


def describe_faults(model: type[BaseModel], error: ValidationError) -> str:
    """Say each fault of a pydantic error in one sentence; unknown keys and kinds come with the known ones."""
    sentences = []
    faults = error.errors(include_url=False, include_context=False)
    for fault in faults:
        if fault["type"] == "too_short" and any(_is_inside(other["loc"], fault["loc"]) for other in faults):
            continue  # pydantic drops faulty items and then misses them
        location, candidates = _locate(model, fault["loc"])
        if fault["type"] == "extra_forbidden":
            _, owners = _locate(model, fault["loc"][:-1])
            sentences.append(f"unknown key '{location}' (known keys: {', '.join(sorted(owners[0].model_fields))})")
        elif fault["type"] == "missing":
            sentences.append(f"missing key '{location}'")
        elif fault["type"] == "union_tag_invalid":
            kinds = ", ".join(filter(None, map(_kind_of, candidates)))
            sentences.append(f"'{location}.kind' is {fault['input'].get('kind')!r} (known kinds: {kinds})")
        else:
            value = repr(fault["input"])
            shown = value if len(value) <= 60 else value[:57] + "..."
            message = _plain(fault["msg"])
            sentences.append(f"'{location}' is {shown}: {message.lower()}" if location else message)
    return "; ".join(sentences)


def _plain(message: str) -> str:
    """Pydantic's message in the words of YAML and JSON."""
    message = re.sub(r" after validation, not \d+", "", message.removeprefix("Value error, "))
    message = re.sub(r"\bvalid dictionary( or instance of \w+)?", "mapping of keys to values", message)
    return re.sub(r"\b([Tt])uple\b", lambda found: "List" if found[1] == "T" else "list", message)


def _is_inside(location: tuple[int | str, ...], outer: tuple[int | str, ...]) -> bool:
    return len(location) > len(outer) and location[: len(outer)] == outer


def _locate(model: type[BaseModel], location: tuple[int | str, ...]) -> tuple[str, list[type[BaseModel]]]:
    """Follow pydantic's ``location`` below ``model``.

    Returns:
        The keys as the user wrote them, dotted (a union's tag is in ``location`` but in nobody's file), and the
        settings that may stand there: several where a ``kind`` chooses.
    """
    keys: list[str] = []
    candidates = [model]
    for part in location:
        tagged = [candidate for candidate in candidates if _kind_of(candidate) == part]
        if len(candidates) > 1 and tagged:
            candidates = tagged
            continue
        keys.append(str(part))
        field = candidates[0].model_fields.get(str(part))
        if field is not None:  # else an index into a list, or a key of a mapping
            candidates = _nested_models(field.annotation) or candidates
    return ".".join(keys), candidates


def _kind_of(model: type[BaseModel]) -> str | None:
    """The literal that tells a member of a union from the others."""
    field = model.model_fields.get("kind")
    return None if field is None else str(field.default)


def _nested_models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    found: list[type[BaseModel]] = []
    for argument in getattr(annotation, "__args__", ()):
        found.extend(_nested_models(argument))
    return found
