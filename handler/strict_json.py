"""JSON from strangers: what the standard parser lets through, and should not, is an error here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn

MAX_VALUES = 3_000_000
"""Each takes some 90 bytes once it is parsed: a table of as many cells as are allowed passes."""


class JsonError(ValueError):
    """Not JSON, or JSON that two readers could understand differently; the message says what and where."""


def parse_json(text: str | bytes) -> Any:
    """Parse one JSON value (RFC 8259).

    Args:
        text: the value; bytes are UTF-8, with or without BOM.

    Raises:
        JsonError: for what does not parse, NaN and infinities, a key that stands twice in one object, integers of
            thousands of digits, nesting too deep for the parser and more than ``MAX_VALUES`` values.
    """
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8-sig")
        except UnicodeDecodeError as exc:
            raise JsonError(f"not UTF-8 at byte {exc.start}") from exc
    if sum(text.count(mark) for mark in "[{,") > MAX_VALUES:  # before they are built
        raise JsonError(f"more than {MAX_VALUES} values")
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_reject_constant)
    except json.JSONDecodeError as exc:
        raise JsonError(f"{exc.msg} at line {exc.lineno}, column {exc.colno}") from exc
    except RecursionError as exc:
        raise JsonError("nested too deeply") from exc
    except JsonError:
        raise
    except ValueError as exc:  # Python refuses to convert integers of more than 4300 digits
        raise JsonError("a number has too many digits") from exc


def json_kind(value: Any) -> str:
    """What JSON calls the kind of ``value``."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "text"
    if isinstance(value, Mapping):
        return "a JSON object"
    return "a JSON list" if isinstance(value, list) else "another kind of value"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values:
            raise JsonError(f"the key {key[:60]!r} stands twice in one object")
        values[key] = value
    return values


def _reject_constant(name: str) -> NoReturn:
    raise JsonError(f"{name} is no JSON number")
