from __future__ import annotations

import base64
import hashlib
import hmac
import multiprocessing
import os
import stat
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.errors import ActivityError, LimitExceeded, StateExpired, StateForeign, StateInvalid
from handler.limits import Limits
from handler.stream.token import (
    KEY_FILE_NAME,
    KEY_FILE_VARIABLE,
    KEY_VARIABLE,
    MIN_KEY_BYTES,
    ModelIdentity,
    StreamSeal,
    load_stream_key,
    make_key_file,
)
from models.settings import SettingsError

KEY = bytes(range(32))
IDENTITY = ModelIdentity("activity", "1.0", "f" * 64)
NOW = 1_700_000_000.0
SEAL = StreamSeal(KEY, IDENTITY)


def decoded(token: str) -> bytes:
    return base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))


def encoded(binary: bytes) -> str:
    return base64.urlsafe_b64encode(binary).rstrip(b"=").decode()


def signed(binary: bytes, key: bytes = KEY) -> str:
    """A token with a right signature around anything."""
    own = hashlib.sha256(b"activity stream state\0" + key).digest()
    return encoded(binary + hmac.digest(own, binary, "sha256"))


def head(version: int = 1, issued: float = NOW, identity: ModelIdentity = IDENTITY) -> bytes:
    return struct.pack(">BQ", version, int(issued * 1000)) + identity.digest


@given(st.binary(max_size=100))
def test_there_and_back(payload: bytes) -> None:
    token = SEAL.seal(payload, NOW)
    assert token == signed(head() + payload)
    assert token.isascii()
    assert SEAL.unseal(token, NOW) == payload
    assert SEAL.unseal(token.encode(), NOW + 3600) == payload
    assert SEAL.unseal(f" {token}\r\n", NOW) == payload


def test_the_clock_is_this_machines() -> None:
    assert SEAL.unseal(SEAL.seal(b"x")) == b"x"
    with pytest.raises(StateExpired):
        SEAL.unseal(SEAL.seal(b"x", NOW))


def refusal(token: str | bytes, now: float = NOW, seal: StreamSeal = SEAL) -> ActivityError:
    with pytest.raises(ActivityError) as caught:
        seal.unseal(token, now)
    return caught.value


def test_every_flipped_bit_is_found() -> None:
    token = SEAL.seal(b"payload", NOW)
    whole = decoded(token)
    for place in range(8 * len(whole)):
        changed = bytearray(whole)
        changed[place // 8] ^= 1 << place % 8
        assert type(refusal(encoded(bytes(changed)))) is StateInvalid


def test_every_changed_character_is_found() -> None:
    """The last one too, of which base64 ignores some bits."""
    token = SEAL.seal(b"payload", NOW)
    assert len(token) % 4 != 0
    for place, letter in enumerate(token):
        for other in "AQgw_+/= \n\0é":
            changed = token[:place] + other + token[place + 1 :]
            if changed.strip() != token and other != letter:
                assert type(refusal(changed)) is StateInvalid


def test_every_cut_and_every_addition_is_found() -> None:
    token = SEAL.seal(b"payload", NOW)
    whole = decoded(token)
    for length in range(len(token)):
        assert type(refusal(token[:length])) is StateInvalid
        assert type(refusal(token[length + 1 :])) is StateInvalid
    for length in range(len(whole)):
        assert type(refusal(encoded(whole[:length]))) is StateInvalid
        assert type(refusal(encoded(whole[:length] + b"\0" + whole[length:]))) is StateInvalid
    assert type(refusal(token + "=")) is StateInvalid


@given(st.text(max_size=80) | st.binary(max_size=80))
def test_garbage_is_invalid(garbage: str | bytes) -> None:
    assert type(refusal(garbage)) is StateInvalid


@given(st.binary(max_size=120))
def test_garbage_in_base64_is_invalid(garbage: bytes) -> None:
    assert type(refusal(encoded(garbage))) is StateInvalid


def test_what_is_signed_with_another_key_is_invalid() -> None:
    for key in (KEY[:-1] + b"\0", KEY + b"\0", bytes(32)):
        assert type(refusal(StreamSeal(key, IDENTITY).seal(b"x", NOW))) is StateInvalid


def test_a_signature_for_another_purpose_is_invalid() -> None:
    content = head() + b"x"
    assert SEAL.unseal(signed(content), NOW) == b"x"
    assert type(refusal(encoded(content + hmac.digest(KEY, content, "sha256")))) is StateInvalid


@pytest.mark.parametrize("version", [0, 2, 255])
def test_another_version_is_invalid(version: int) -> None:
    assert type(refusal(signed(head(version) + b"x"))) is StateInvalid


@pytest.mark.parametrize("binary", [b"", b"\1", head()[:-1]])
def test_what_is_signed_and_too_short_is_invalid(binary: bytes) -> None:
    assert type(refusal(signed(binary))) is StateInvalid


@pytest.mark.parametrize(
    "identity",
    [
        ModelIdentity("other", "1.0", "f" * 64),
        ModelIdentity("activity", "1.1", "f" * 64),
        ModelIdentity("activity", "1.0", "e" * 64),
        ModelIdentity("activity1", ".0", "f" * 64),
    ],
)
def test_another_models_state_is_foreign(identity: ModelIdentity) -> None:
    error = refusal(StreamSeal(KEY, identity).seal(b"x", NOW))
    assert (type(error), error.status, error.code) == (StateForeign, 409, "state_foreign")


def test_a_state_expires() -> None:
    seal = StreamSeal(KEY, IDENTITY, Limits(max_state_age_seconds=10))
    token = seal.seal(b"x", NOW)
    assert seal.unseal(token, NOW + 10) == b"x"
    error = refusal(token, NOW + 10.002, seal)
    assert (type(error), error.status, error.code) == (StateExpired, 410, "state_expired")
    assert error.message == "state: 10 seconds old, at most 10 are allowed"


def test_a_state_from_the_future_is_invalid() -> None:
    token = SEAL.seal(b"x", NOW)
    assert SEAL.unseal(token, NOW - 60) == b"x"
    assert type(refusal(token, NOW - 60.002)) is StateInvalid
    assert type(refusal(signed(struct.pack(">BQ", 1, 2**64 - 1) + IDENTITY.digest))) is StateInvalid


def test_a_refusal_does_not_say_in_what() -> None:
    token = SEAL.seal(b"x", NOW)
    tokens = ["", "é", "====", token[:-1], token[:-4] + "AAAA", signed(head(2)), signed(b""), signed(head(), bytes(32))]
    assert {str(refusal(token).body) for token in tokens} == {str(refusal("A").body)}
    assert str(refusal(token, NOW - 99).body) == str(refusal("A").body)
    assert refusal("A").status == 400
    assert refusal("A").code == "state_invalid"


def test_a_state_may_be_just_so_large() -> None:
    token = SEAL.seal(b"x" * 1000, NOW)
    exact = StreamSeal(KEY, IDENTITY, Limits(max_state_bytes=len(token)))
    assert exact.unseal(exact.seal(b"x" * 1000, NOW), NOW) == b"x" * 1000
    with pytest.raises(LimitExceeded, match=f"would have {len(token) + 1} bytes, at most {len(token)} are allowed"):
        exact.seal(b"x" * 1001, NOW)
    error = refusal(token + "A", NOW, exact)
    assert (type(error), error.status) == (LimitExceeded, 413)


def test_nothing_is_decoded_before_the_signature_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bytes] = []

    def compare(*pair: bytes) -> bool:
        seen.append(pair[1])
        return False

    monkeypatch.setattr(hmac, "compare_digest", compare)
    token = SEAL.seal(b"x", NOW)
    assert type(refusal(token)) is StateInvalid
    assert seen == [decoded(token)[-32:]]


def test_the_key_does_not_show() -> None:
    assert KEY.hex() not in repr(SEAL)
    assert repr(KEY) not in repr(SEAL)


def test_a_short_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="at least 32 bytes, got 31"):
        StreamSeal(KEY[:-1], IDENTITY)
    with pytest.raises(SettingsError, match=r"ACTIVITY_STREAM_KEY: .* at least 32 bytes, got 31"):
        load_stream_key(tmp_path, {KEY_VARIABLE: KEY[:-1].hex()})
    (tmp_path / KEY_FILE_NAME).write_text(KEY[:-1].hex())
    with pytest.raises(SettingsError, match=r"stream_key: .* at least 32 bytes, got 31"):
        load_stream_key(tmp_path, {})


@pytest.mark.parametrize(
    "text",
    [KEY.hex(), f" {KEY.hex().upper()}\n", base64.b64encode(KEY).decode(), base64.urlsafe_b64encode(KEY).decode()],
)
def test_a_key_is_hexadecimal_or_base64(tmp_path: Path, text: str) -> None:
    assert load_stream_key(tmp_path, {KEY_VARIABLE: text}) == KEY
    (tmp_path / "key").write_text(text)
    assert load_stream_key(tmp_path, {KEY_FILE_VARIABLE: str(tmp_path / "key")}) == KEY
    assert sorted(path.name for path in tmp_path.iterdir()) == ["key"]


def test_the_variable_comes_before_the_file_and_an_empty_one_is_none(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY.hex())
    environment = {KEY_VARIABLE: (KEY + b"\0").hex(), KEY_FILE_VARIABLE: str(tmp_path / "key")}
    assert load_stream_key(tmp_path, environment) == KEY + b"\0"
    assert load_stream_key(tmp_path, {**environment, KEY_VARIABLE: ""}) == KEY


def test_a_secret_never_stands_in_a_message(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load_stream_key(tmp_path, {KEY_VARIABLE: "hunter2 is no key"})
    assert "hunter2" not in str(caught.value)
    assert "hexadecimal or base64" in str(caught.value)


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b""])
def test_a_named_file_has_to_hold_a_key(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError, match="key"):
        load_stream_key(tmp_path, {KEY_FILE_VARIABLE: str(path)})
    assert path.exists() == (content is not None)


def test_the_file_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        key = load_stream_key(tmp_path, {})
    finally:
        os.umask(old)
    path = tmp_path / KEY_FILE_NAME
    assert len(key) == MIN_KEY_BYTES
    assert bytes.fromhex(path.read_text()) == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_stream_key(tmp_path, {}) == key
    (tmp_path / "other").mkdir()
    assert load_stream_key(tmp_path / "other", {}) != key


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"can be written .* name one with ACTIVITY_STREAM_KEY_FILE"):
        make_key_file(tmp_path / "missing" / KEY_FILE_NAME)


def _load_at_once(
    folder: Path, barrier: multiprocessing.synchronize.Barrier, keys: multiprocessing.Queue[bytes]
) -> None:
    barrier.wait()
    keys.put(load_stream_key(folder, {}))


def test_workers_that_start_together_have_one_key(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    for place in range(5):
        folder = tmp_path / str(place)
        folder.mkdir()
        barrier, keys = context.Barrier(6), context.Queue()
        workers = [context.Process(target=_load_at_once, args=(folder, barrier, keys)) for _ in range(6)]
        for worker in workers:
            worker.start()
        found = {keys.get(timeout=20) for _ in workers}
        for worker in workers:
            worker.join()
        assert len(found) == 1
        assert [path.name for path in folder.iterdir()] == [KEY_FILE_NAME]


def test_who_comes_second_takes_the_first_ones_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another worker writes its own between the look and the link."""
    path = tmp_path / KEY_FILE_NAME
    real = os.link

    def link(draft: str, target: Path) -> None:
        path.write_text(KEY.hex())
        real(draft, target)

    monkeypatch.setattr(os, "link", link)
    assert load_stream_key(tmp_path, {}) == KEY
    assert [each.name for each in tmp_path.iterdir()] == [KEY_FILE_NAME]
