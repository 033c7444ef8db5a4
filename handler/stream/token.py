"""A stream's state as the client keeps it: signed text that only this model's workers go on with, for a while.

The service keeps nothing of a stream. What it needs to go on stands in the answer and comes back with the next chunk,
through the hands of a client that must not be able to write it: nothing in it is looked at before its signature
(HMAC-SHA-256, RFC 2104) is found to be right. It hides nothing: a client may read what it has sent.

The text is base64url (RFC 4648) without padding of: the version (1 byte), the time of issue in milliseconds (8,
big-endian), the identity of the model (32), the payload, the signature of all before (32).

All workers that are to go on with each other's streams need one key: :func:`load_stream_key`.
"""

from __future__ import annotations

import base64
import hmac
import os
import struct
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from handler.errors import LimitExceeded, StateExpired, StateForeign, StateInvalid
from handler.limits import Limits
from models.settings import SettingsError

VERSION = 1
KEY_VARIABLE = "ACTIVITY_STREAM_KEY"
KEY_FILE_VARIABLE = "ACTIVITY_STREAM_KEY_FILE"
KEY_FILE_NAME = "stream_key"
MIN_KEY_BYTES = 32
"""As many as the signature has: a shorter key would be what to guess."""
CLOCK_TOLERANCE_SECONDS = 60.0
"""The clocks of two machines that serve one stream may differ by so much."""

_HEAD = struct.Struct(">BQ")
_DIGEST_BYTES = 32
_PURPOSE = b"activity stream state\0"
"""Makes of the key one for states alone, so that nothing else that is signed with it is one."""
_BEGIN_ANEW = "Send the state of the last answer as it came, or begin the stream anew without one."


@dataclass(frozen=True)
class ModelIdentity:
    """The model that a state is of."""

    name: str
    version: str
    fingerprint: str
    """Of the checkpoint (:func:`models.fingerprint.checkpoint_fingerprint`)."""

    @property
    def digest(self) -> bytes:
        """32 bytes that differ when any of these does."""
        parts = [part.encode("utf-8") for part in (self.name, self.version, self.fingerprint)]
        return sha256(b"".join(struct.pack(">Q", len(part)) + part for part in parts)).digest()


@dataclass(frozen=True)
class StreamSeal:
    """Makes tokens of states, and states of tokens."""

    key: bytes = field(repr=False)
    """At least :data:`MIN_KEY_BYTES`."""
    identity: ModelIdentity
    limits: Limits = field(default_factory=Limits)
    """``max_state_bytes`` and ``max_state_age_seconds``."""

    def __post_init__(self) -> None:
        if len(self.key) < MIN_KEY_BYTES:
            raise SettingsError(f"a key of streams has at least {MIN_KEY_BYTES} bytes, got {len(self.key)}")

    def seal(self, payload: bytes, now: float | None = None) -> str:
        """Sign a state.

        Args:
            payload: the state.
            now: seconds since 1970; by default this machine's clock.

        Returns:
            The token, in ASCII.

        Raises:
            LimitExceeded: the token would be longer than ``max_state_bytes``.
        """
        issued = round((time.time() if now is None else now) * 1000)
        signed = _HEAD.pack(VERSION, issued) + self.identity.digest + payload
        token = _text(signed + self._signature(signed))
        if len(token) > self.limits.max_state_bytes:
            raise LimitExceeded(
                "state",
                f"state: the stream's state would have {len(token)} bytes, "
                f"at most {self.limits.max_state_bytes} are allowed",
                remedy="Cut the stream at key frames, or send smaller pictures and sound of a lower rate.",
            )
        return token

    def unseal(self, token: str | bytes, now: float | None = None) -> bytes:
        """Check a token, and give its state.

        Args:
            token: as :meth:`seal` gave it; white space around it is dropped.
            now: seconds since 1970; by default this machine's clock.

        Raises:
            LimitExceeded: longer than any token.
            StateInvalid: no token of this key and version; the message does not say in what.
            StateForeign: of another model, another version of it, or other weights.
            StateExpired: older than ``max_state_age_seconds``.
        """
        if len(token) > self.limits.max_state_bytes:
            raise LimitExceeded(
                "state",
                f"state: {len(token)} bytes, at most {self.limits.max_state_bytes} are allowed",
                remedy=_BEGIN_ANEW,
            )
        sealed = _binary(token)
        signed, signature = sealed[:-_DIGEST_BYTES], sealed[-_DIGEST_BYTES:]
        start = _HEAD.size + _DIGEST_BYTES
        genuine = hmac.compare_digest(self._signature(signed), signature)
        if not genuine or len(signed) < start or signed[0] != VERSION:
            raise _invalid()
        age = (time.time() if now is None else now) - _HEAD.unpack_from(signed)[1] / 1000
        if age < -CLOCK_TOLERANCE_SECONDS:
            raise _invalid()
        if not hmac.compare_digest(signed[_HEAD.size : start], self.identity.digest):
            raise StateForeign(
                "state: of another model, another version of it, or other weights",
                remedy="Begin the stream anew without a state.",
            )
        if age > self.limits.max_state_age_seconds:
            raise StateExpired(
                f"state: {age:.0f} seconds old, at most {self.limits.max_state_age_seconds:g} are allowed",
                remedy="Begin the stream anew without a state.",
            )
        return signed[start:]

    def _signature(self, signed: bytes) -> bytes:
        # HMAC itself takes keys for the same that differ in zeros at their end.
        return hmac.digest(sha256(_PURPOSE + self.key).digest(), signed, "sha256")


def load_stream_key(folder: Path, environment: Mapping[str, str] | None = None) -> bytes:
    """The key that all workers of a server share.

    It is that of ``ACTIVITY_STREAM_KEY`` (hexadecimal or base64), else of the file that ``ACTIVITY_STREAM_KEY_FILE``
    names (the same as text), else of the file ``stream_key`` in ``folder``, which whoever comes first makes.

    Args:
        folder: one that the workers share, such as that of the unpacked archive.
        environment: by default this process's.

    Raises:
        SettingsError: the key is short or none, or its file cannot be read or made.
    """
    environment = os.environ if environment is None else environment
    text, named = environment.get(KEY_VARIABLE), environment.get(KEY_FILE_VARIABLE)
    if text:
        return _parse_key(text, KEY_VARIABLE)
    if named:
        return _read_key(Path(named))
    make_key_file(folder / KEY_FILE_NAME)
    return _read_key(folder / KEY_FILE_NAME)


def make_key_file(path: Path) -> None:
    """Write a new key to a file of its owner alone, unless the file is there.

    Of several processes that do so at the same time one makes it; none ever sees a part of it.

    Raises:
        SettingsError: it cannot be made.
    """
    if path.exists():
        return
    try:
        descriptor, draft = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)  # mode 600
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(os.urandom(MIN_KEY_BYTES).hex() + "\n")
            os.link(draft, path)  # whole at once, and never over another one
        except FileExistsError:
            pass
        finally:
            Path(draft).unlink()
    except OSError as exc:
        raise SettingsError(
            f"no key of streams can be written to {path} ({exc.strerror}); name one with {KEY_FILE_VARIABLE}"
        ) from exc


def _read_key(path: Path) -> bytes:
    try:
        text = path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as exc:
        raise SettingsError(f"the key of streams in {path} cannot be read ({type(exc).__name__})") from exc
    return _parse_key(text, str(path))


def _parse_key(text: str, source: str) -> bytes:
    text = text.strip()
    try:
        key = bytes.fromhex(text)
    except ValueError:
        try:
            key = base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
        except ValueError as exc:
            raise SettingsError(f"{source}: a key of streams is hexadecimal or base64") from exc
    if len(key) < MIN_KEY_BYTES:
        raise SettingsError(f"{source}: a key of streams has at least {MIN_KEY_BYTES} bytes, got {len(key)}")
    return key


def _text(binary: bytes) -> str:
    return base64.urlsafe_b64encode(binary).rstrip(b"=").decode("ascii")


def _binary(token: str | bytes) -> bytes:
    """The bytes of a token; of several texts that base64 takes for the same bytes, ours alone."""
    try:
        text = token.strip() if isinstance(token, str) else token.strip().decode("ascii")
        binary = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError as exc:
        raise _invalid() from exc
    if _text(binary) != text:
        raise _invalid()
    return binary


def _invalid() -> StateInvalid:
    return StateInvalid("state: not one that this service gave, or changed on the way", remedy=_BEGIN_ANEW)
