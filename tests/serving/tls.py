"""A certificate that is made for a test, and its key: of this machine, signed by itself."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

OPENSSL = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
NAMES = "subjectAltName=DNS:localhost,IP:127.0.0.1"


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Write ``cert.pem`` and ``key.pem``; a machine without openssl skips the test."""
    certificate, key = folder / "cert.pem", folder / "key.pem"
    command = [*OPENSSL.split(), "-addext", NAMES, "-keyout", str(key), "-out", str(certificate)]
    try:
        subprocess.run(command, capture_output=True, check=True)
    except FileNotFoundError:
        pytest.skip("there is no openssl")
    key.chmod(0o600)
    return certificate, key
