"""Whom a front lets in: who has the key of the server behind it, or one of the front's own that outlives the server.

TorchServe makes its keys anew at each start. A front can have a key that stays, in a file of its owner's; to the server
each request then goes with the server's own. Who has neither is refused before a byte of the body is read.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Sequence
from pathlib import Path

from cli.errors import CommandError
from cli.listening import check_private
from cli.progress import say

KEY = re.compile(r"[A-Za-z0-9._~+/=-]+")
MIN_CHARACTERS = 32
PASSED_ON = """map $http_authorization $server_key {
        default $http_authorization;
    }"""
NEEDED = """map $server_key $is_stranger {
        default 0;
        "" 1;
    }"""
NOT_NEEDED = """map $server_key $is_stranger {
        default 0;
    }"""


def load_inference_key(path: Path) -> str:
    """The key of a file; it is made where it is missing.

    Raises:
        CommandError: it cannot be read or made, others may read it, or it is no key.
    """
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as made:
                made.write(secrets.token_urlsafe(32) + "\n")
            say(f"Made a key in {path}: clients that have it keep it over restarts of the server.")
        check_private(path)
        key = path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError as exc:
        raise CommandError(f"{path} cannot be read or made: {exc.strerror}.", remedy="Check the path.") from exc
    if len(key) < MIN_CHARACTERS or not KEY.fullmatch(key):
        raise CommandError(
            f"{path} holds no key: at least {MIN_CHARACTERS} letters, digits and . _ ~ + / = -",
            remedy="Remove it, and one is made; or write one: `openssl rand -hex 32`.",
        )
    return key


def build_key_maps(server_key: str | None, own_keys: Sequence[str] = ()) -> str:
    """Nginx's maps from what a client sends to ``$server_key``, what the server is sent, and ``$is_stranger``.

    Args:
        server_key: of the server behind; None where it asks for none.
        own_keys: further ones that are let in.
    """
    if server_key is None:
        return f"{PASSED_ON}\n    {NOT_NEEDED}"
    keys = (server_key, *own_keys)
    if not all(KEY.fullmatch(key) for key in keys):
        raise CommandError("A key has characters that no key has.", remedy="Start the server anew.")
    # As patterns: nginx compares strings without regard to case.
    lines = "\n".join(f'        "~^Bearer {re.escape(key)}$" "Bearer {server_key}";' for key in keys)
    return f'map $http_authorization $server_key {{\n        default "";\n{lines}\n    }}\n    {NEEDED}'


def build_open_key_maps() -> str:
    """The same for a configuration that is only written: any key goes on to the server, which looks at it."""
    return f"{PASSED_ON}\n    {NEEDED}"
