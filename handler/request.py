"""Receive: one item of the server's batch becomes an :class:`ActivityRequest`, whichever way it was sent.

A request comes as named parts (multipart, or gRPC's map), as one raw body of media or text, or as a JSON body with the
media in base64. The server parses some of these by their content type and leaves others as bytes, and the same part
can arrive as ``bytes``, ``bytearray``, ``str`` or parsed JSON: all of that ends here.
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from handler.errors import InvalidOptions, InvalidRequest, LimitExceeded, UnknownPart
from handler.limits import Limits
from handler.options import REMEDY as OPTIONS_REMEDY
from handler.options import RequestOptions, parse_options
from handler.strict_json import JsonError, json_kind, parse_json

PARTS = ("video", "audio", "text", "options")
BODY = "body"
"""The name under which the server hands over a body that has no parts."""

HOW_TO_SEND = (
    "Send the media file as the body, or multipart parts named video, audio, text and options "
    "(curl -F video=@clip.mp4), or JSON: "
    '{"video": "<base64>", "audio": "<base64>", "text": "words", "options": {}}.'
)
_MEDIA_REMEDY = "Send the file's bytes with its own content type, for example video/mp4 or audio/wav."
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

    def __repr__(self) -> str:
        parts = {name: getattr(self, name) for name in ("video", "audio", "text")}
        sizes = [f"{name}={len(value)}" for name, value in parts.items() if value is not None]
        return f"ActivityRequest({', '.join(sizes)}, {self.options!r})"


def parse_request(raw: Mapping[str, Any], limits: Limits) -> ActivityRequest:
    """Read one request; ``raw`` is left as it is.

    Args:
        raw: one item of the server's batch: ``{"body": ...}`` for a body without parts, else the parts by name.
        limits: ``max_bytes`` holds for each part, decoded.

    Raises:
        InvalidRequest: nothing was sent, a part of the wrong kind, broken base64 or broken JSON.
        InvalidOptions: see :func:`handler.options.parse_options`.
        UnknownPart: a part with another name.
        LimitExceeded: a part of more than ``max_bytes``.
    """
    if set(raw) == {BODY}:
        return _from_body(raw[BODY], limits)
    return _from_parts(raw, limits)


def _from_parts(raw: Mapping[str, Any], limits: Limits) -> ActivityRequest:
    _check_names(raw, "part")
    return _build(
        video=_media_bytes("video", raw.get("video"), limits),
        audio=_media_bytes("audio", raw.get("audio"), limits),
        text=_text("text", raw.get("text"), limits),
        options=_options(raw.get("options"), limits),
    )


def _from_body(body: Any, limits: Limits) -> ActivityRequest:
    if isinstance(body, str | bytes | bytearray | memoryview):
        return _from_plain_body(body if isinstance(body, str) else bytes(body), limits)
    if isinstance(body, Mapping):
        return _from_json(body, limits)
    raise InvalidRequest(f"a JSON body must be an object, got {json_kind(body)}", remedy=HOW_TO_SEND)


def _from_plain_body(body: str | bytes, limits: Limits) -> ActivityRequest:
    if not body:
        raise InvalidRequest("the request is empty", remedy=HOW_TO_SEND)
    values = _json_object(body)
    if values is not None:
        return _from_json(values, limits)
    if isinstance(body, str) or body.removeprefix(b"\xef\xbb\xbf").startswith(b"WEBVTT"):
        return _build(video=None, audio=None, text=_text(BODY, body, limits), options=RequestOptions())
    return _build(video=_copied(BODY, body, limits), audio=None, text=None, options=RequestOptions())


def _json_object(body: str | bytes) -> Mapping[str, Any] | None:
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
    if isinstance(body, str) and not set(values) & set(PARTS):
        return None
    return dict(values)


def _from_json(values: Mapping[str, Any], limits: Limits) -> ActivityRequest:
    _check_names(values, "field")
    text = values.get("text")
    if not isinstance(text, str | None):
        raise InvalidRequest(f"field 'text' must be a string, got {json_kind(text)}", remedy=HOW_TO_SEND)
    return _build(
        video=_decoded_base64("video", values.get("video"), limits),
        audio=_decoded_base64("audio", values.get("audio"), limits),
        text=_text("text", text, limits),
        options=_options(values.get("options"), limits),
    )


def _build(
    *, video: bytes | None, audio: bytes | None, text: bytes | str | None, options: RequestOptions
) -> ActivityRequest:
    if video is None and audio is None and text is None:
        raise InvalidRequest("the request has no video, no audio and no text", remedy=HOW_TO_SEND)
    return ActivityRequest(video=video, audio=audio, text=text, options=options)


def _check_names(values: Mapping[str, Any], kind: Literal["part", "field"]) -> None:
    unknown = sorted(str(name) for name in values if name not in PARTS)
    if unknown:
        raise UnknownPart(
            f"unknown {kind} {unknown[0][:60]!r} (known {kind}s: {', '.join(PARTS)})",
            remedy=f"Rename or leave out the {kind}; names are case-sensitive.",
        )


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


def _options(value: Any, limits: Limits) -> RequestOptions:
    if isinstance(value, bytearray | memoryview):
        value = bytes(value)
    if value is not None and not isinstance(value, str | bytes | Mapping):
        raise InvalidOptions(f"options: expected a JSON object, got {json_kind(value)}", remedy=OPTIONS_REMEDY)
    return parse_options(value, limits)


def _decoded_base64(name: str, value: Any, limits: Limits) -> bytes | None:
    """Decode the standard alphabet (RFC 4648, section 4), broken into lines or not."""
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
            f"'{name}' has {num_bytes} bytes, at most {limits.max_bytes} are allowed",
            remedy="Send a shorter clip, or encode it at a lower bit rate.",
        )
