"""Receive: one item of the server's batch becomes an :class:`ActivityRequest`, whichever way it was sent.

A request comes as named parts (multipart, or gRPC's map), as one raw body of media or text, or as a JSON body with the
media in base64 and the tables as they are. The server parses some of these by their content type and leaves others as
bytes, and the same part can arrive as ``bytes``, ``bytearray``, ``str`` or parsed JSON: all of that ends here.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from handler.errors import InvalidOptions, InvalidRequest, LimitExceeded, StateInvalid, UnknownPart
from handler.limits import Limits
from handler.options import REMEDY as OPTIONS_REMEDY
from handler.options import RequestOptions, parse_options
from handler.parquet_footer import MAGIC
from handler.strict_json import JsonError, json_kind, parse_json
from handler.table import Content
from models.config import MODALITIES, Modality

MEDIA = ("video", "audio", "image", "depth")
BODY = "body"
"""The name under which the server hands over a body that has no parts."""

HOW_TO_SEND = (
    "Send the media file as the body, or multipart parts named video, audio, text and options "
    "(curl -F video=@clip.mp4), or JSON: "
    '{"video": "<base64>", "audio": "<base64>", "text": "words", "options": {}}.'
)
_PARQUET_BASE64 = base64.b64encode(MAGIC).decode("ascii").rstrip("=")[:-1]  # the last one holds a next byte
_MEDIA_REMEDY = "Send the file's bytes with its own content type, for example video/mp4 or audio/wav."
_TABLE_REMEDY = "Send CSV, Parquet or a JSON object or list, as a file, as text or as JSON."
_TEXT_REMEDY = "Send plain text, WebVTT or SRT, in UTF-8 with content type text/plain."


@dataclass(frozen=True)
class ActivityRequest:
    """What a client sent, by modality; None where it was not sent."""

    video: bytes | None
    """Any container with picture, sound or both; a raw body of media lands here even if it is sound only."""
    audio: bytes | None
    """Any container with sound, which then stands in for the sound of ``video``."""
    text: bytes | str | None
    """Plain text, WebVTT or SRT; bytes are UTF-8. May be empty."""
    options: RequestOptions
    image: bytes | None = None
    """One picture."""
    tabular: Content | None = None
    """One row of a table: CSV, JSON or Parquet; bytes, text, or JSON that is parsed."""
    depth: bytes | None = None
    """Any container with a picture, whose grey is the depth."""
    vectors: Mapping[Modality, Content] = field(default_factory=dict)
    """The sequences that were sent, by name: CSV, JSON or Parquet."""
    num_instances: int = 1
    """Requests that came in the same body and share its limits."""
    state: str | bytes | None = None
    """Of the stream that the request is a chunk of: a token as the last answer gave it."""

    @property
    def parts(self) -> dict[Modality, Content]:
        """What was sent, by modality."""
        named = {name: getattr(self, name) for name in MODALITIES}
        return {name: content for name, content in (*named.items(), *self.vectors.items()) if content is not None}

    def __repr__(self) -> str:
        sizes = [f"{name}={len(value)}" for name, value in self.parts.items()]
        return f"ActivityRequest({', '.join(sizes)}, {self.options!r})"


def known_names(vectors: Collection[Modality] = ()) -> tuple[str, ...]:
    """The names of the parts that a request may have; ``vectors`` are those of the model's sequences of vectors."""
    return (*MODALITIES, *vectors, "options", "state")


@dataclass(frozen=True)
class _Names:
    """The names that a request may use."""

    vectors: tuple[Modality, ...]
    """The model's sequences of vectors."""

    @property
    def known(self) -> tuple[str, ...]:
        return known_names(self.vectors)

    def check(self, values: Mapping[str, Any], kind: Literal["part", "field"]) -> None:
        unknown = sorted(str(name) for name in values if name not in self.known)
        if unknown:
            remedy = f"Rename or leave out the {kind}; names are case-sensitive."
            if not unknown[0].isprintable():  # a file that was sent as a form, as curl does without a content type
                remedy = "A file that is the whole body needs its type, such as Content-Type: video/mp4."
            raise UnknownPart(
                f"unknown {kind} {unknown[0][:60]!r} (known {kind}s: {', '.join(self.known)})", remedy=remedy
            )


def parse_request(raw: Mapping[str, Any], limits: Limits, vectors: Collection[Modality] = ()) -> ActivityRequest:
    """Read one request; ``raw`` is left as it is.

    Args:
        raw: one item of the server's batch: ``{"body": ...}`` for a body without parts, else the parts by name.
        limits: ``max_bytes`` holds for each part, decoded.
        vectors: the names of the model's sequences of vectors, each of which is a part.

    Raises:
        InvalidRequest: nothing was sent, a part of the wrong kind, broken base64 or broken JSON.
        InvalidOptions: see :func:`handler.options.parse_options`.
        StateInvalid: a state that is no text.
        UnknownPart: a part with another name.
        LimitExceeded: a part of more than ``max_bytes``.
    """
    names = _Names(tuple(vectors))
    if set(raw) == {BODY}:
        return _from_body(raw[BODY], limits, names)
    return _from_parts(raw, limits, names)


def _from_parts(raw: Mapping[str, Any], limits: Limits, names: _Names) -> ActivityRequest:
    names.check(raw, "part")
    media = {name: _media_bytes(name, raw.get(name), limits) for name in MEDIA}
    return _build(media, _text("text", raw.get("text"), limits), raw, limits, names)


def _from_body(body: Any, limits: Limits, names: _Names) -> ActivityRequest:
    if isinstance(body, str | bytes | bytearray | memoryview):
        return _from_plain_body(body if isinstance(body, str) else bytes(body), limits, names)
    if isinstance(body, Mapping):
        return _from_json(body, limits, names)
    raise InvalidRequest(f"a JSON body must be an object, got {json_kind(body)}", remedy=HOW_TO_SEND)


def _from_plain_body(body: str | bytes, limits: Limits, names: _Names) -> ActivityRequest:
    if not body:
        raise InvalidRequest("the request is empty", remedy=HOW_TO_SEND)
    values = _json_object(body, names)
    if values is not None:
        return _from_json(values, limits, names)
    if isinstance(body, str) or body.removeprefix(b"\xef\xbb\xbf").startswith(b"WEBVTT"):
        return ActivityRequest(video=None, audio=None, text=_text(BODY, body, limits), options=RequestOptions())
    return ActivityRequest(video=_copied(BODY, body, limits), audio=None, text=None, options=RequestOptions())


def _json_object(body: str | bytes, names: _Names) -> Mapping[str, Any] | None:
    """The JSON object that a body of another content type is, or None.

    No media begins with a brace, so bytes that do are JSON, broken JSON included. Text may well: it is JSON only if
    it parses and has a known key.
    """
    head = body[:64].lstrip()
    if not head.startswith("{") if isinstance(head, str) else not head.startswith((b"{", b"\xef\xbb\xbf{")):
        return None
    try:
        values = parse_json(body)
    except JsonError as exc:
        if isinstance(body, str):
            return None
        raise InvalidRequest(f"the body is no valid JSON: {exc}", remedy=HOW_TO_SEND) from exc
    if isinstance(body, str) and not set(values) & set(names.known):
        return None
    return dict(values)


def _from_json(values: Mapping[str, Any], limits: Limits, names: _Names) -> ActivityRequest:
    names.check(values, "field")
    text = values.get("text")
    if not isinstance(text, str | None):
        raise InvalidRequest(f"field 'text' must be a string, got {json_kind(text)}", remedy=HOW_TO_SEND)
    media = {name: decode_base64(name, values.get(name), limits) for name in MEDIA}
    return _build(media, _text("text", text, limits), values, limits, names)


def _build(
    media: Mapping[str, bytes | None],
    text: bytes | str | None,
    values: Mapping[str, Any],
    limits: Limits,
    names: _Names,
) -> ActivityRequest:
    tables = {name: _table(name, values.get(name), limits) for name in ("tabular", *names.vectors)}
    request = ActivityRequest(
        video=media["video"],
        audio=media["audio"],
        text=text,
        options=_options(values.get("options"), limits),
        image=media["image"],
        tabular=tables.pop("tabular"),
        depth=media["depth"],
        vectors={name: content for name, content in tables.items() if content is not None},
        state=_state(values.get("state")),
    )
    chunk = request.options.chunk
    ends_stream = chunk is not None and chunk.last and request.state is not None
    if not request.parts and not ends_stream:
        parts = [name for name in names.known if name not in ("options", "state")]
        raise InvalidRequest(f"the request has none of the parts {', '.join(parts)}", remedy=HOW_TO_SEND)
    return request


def _media_bytes(name: str, value: Any, limits: Limits) -> bytes | None:
    if value is None:
        return None
    if not isinstance(value, bytes | bytearray | memoryview):
        raise InvalidRequest(f"part '{name}' must be bytes, got {json_kind(value)}", remedy=_MEDIA_REMEDY)
    return _copied(name, value, limits)


def _text(name: str, value: Any, limits: Limits) -> bytes | str | None:
    if value is None:
        return None
    if isinstance(value, bytes | bytearray | memoryview):
        return _copied(name, value, limits)
    if not isinstance(value, str):
        raise InvalidRequest(f"part '{name}' must be text, got {json_kind(value)}", remedy=_TEXT_REMEDY)
    try:
        num_bytes = len(value.encode("utf-8"))
    except UnicodeEncodeError as exc:  # JSON can spell half of a surrogate pair
        raise InvalidRequest(f"'{name}' is not valid Unicode at character {exc.start}", remedy=_TEXT_REMEDY) from exc
    _check_size(name, num_bytes, limits)
    return value


def _table(name: str, value: Any, limits: Limits) -> Content | None:
    """A table as bytes, as text or as parsed JSON; text that is the base64 of Parquet, as JSON needs it, is decoded."""
    if value is None or isinstance(value, Mapping | list):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return _copied(name, value, limits)
    if not isinstance(value, str):
        raise InvalidRequest(f"'{name}' must be a table, got {json_kind(value)}", remedy=_TABLE_REMEDY)
    if value.startswith(_PARQUET_BASE64):
        return decode_base64(name, value, limits)
    return _text(name, value, limits)


def _options(value: Any, limits: Limits) -> RequestOptions:
    if isinstance(value, bytearray | memoryview):
        value = bytes(value)
    if value is not None and not isinstance(value, str | bytes | Mapping):
        raise InvalidOptions(f"options: expected a JSON object, got {json_kind(value)}", remedy=OPTIONS_REMEDY)
    return parse_options(value, limits)


def _state(value: Any) -> str | bytes | None:
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    if not isinstance(value, str | bytes | None):
        raise StateInvalid(
            f"state: expected text, got {json_kind(value)}", remedy="Send the state of the last answer as it came."
        )
    return value


def decode_base64(name: str, value: Any, limits: Limits) -> bytes | None:
    """Decode the standard alphabet (RFC 4648, section 4), broken into lines or not.

    Raises:
        InvalidRequest: it is no text, or no base64.
        LimitExceeded: more than ``max_bytes``.
    """
    remedy = f"Encode the file with the standard base64 alphabet and its padding, and send it as field '{name}'."
    if value is None:
        return None
    if not isinstance(value, str):
        raise InvalidRequest(f"field '{name}' must be a base64 string, got {json_kind(value)}", remedy=remedy)
    try:
        encoded = value.encode("ascii").translate(None, b" \t\r\n")
        num_bytes = len(encoded) // 4 * 3 - encoded[-2:].count(b"=")
        _check_size(name, num_bytes, limits)
        decoded = binascii.a2b_base64(encoded, strict_mode=True)
    except (UnicodeEncodeError, binascii.Error) as exc:
        raise InvalidRequest(f"field '{name}' is not valid base64", remedy=remedy) from exc
    if len(decoded) != num_bytes:  # surplus padding at the end passes the strict mode
        raise InvalidRequest(f"field '{name}' is not valid base64", remedy=remedy)
    return decoded


def _copied(name: str, value: bytes | bytearray | memoryview, limits: Limits) -> bytes:
    _check_size(name, value.nbytes if isinstance(value, memoryview) else len(value), limits)
    return bytes(value)


def _check_size(name: str, num_bytes: int, limits: Limits) -> None:
    if num_bytes > limits.max_bytes:
        raise LimitExceeded(
            "bytes",
            f"'{name}' has {num_bytes} bytes, at most {limits.max_bytes} are allowed",
            remedy="Send a shorter clip, or encode it at a lower bit rate.",
        )
