"""Where a server listens and how, and from where it loads: this machine alone, unless that is asked for aloud."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from cli.errors import CommandError
from cli.ports import LOOPBACK, Ports

ADDRESSES = (
    "inference_address",
    "management_address",
    "metrics_address",
    "grpc_inference_address",
    "grpc_management_address",
)
EVERYWHERE = "0.0.0.0"  # noqa: S104 - recognized, not listened on
STRANGERS = (
    "http://stranger.example/a.mar",
    "https://stranger.example/a.mar",
    "file:///etc/a.mar",
    "s3://stranger/a.mar",
)
"""Addresses that no setting should allow at once with others."""
ALLOWED_REMEDY = (
    "Leave it at `none`: archives then come from the model store alone. Else name each host: https://my\\.host/.*"
)
CERTIFICATE, KEY = "certificate_file", "private_key_file"


@dataclass(frozen=True)
class Tls:
    """With what a port speaks TLS: PEM files."""

    certificate: Path
    """The certificate, and after it those between it and its maker's."""
    key: Path
    """Its private key, readable by its owner alone."""

    def __post_init__(self) -> None:
        for what, path in (("certificate", self.certificate), ("key", self.key)):
            if not path.is_file():
                raise CommandError(f"There is no {what} {path}.", remedy="Check the path.")
        check_private(self.key)


def check_private(path: Path) -> None:
    """Check that a file with a secret is its owner's alone.

    Raises:
        CommandError: others may read or write it.
    """
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        raise CommandError(
            f"{path} holds a secret and may be read by others (mode {mode:o}).",
            remedy=f"Let it be yours: chmod 600 {path}",
        )


def find_tls(base: Mapping[str, str], certificate: Path | None, key: Path | None, folder: Path) -> Tls | None:
    """With what a server speaks TLS: as the command line names it, else its settings; None where neither does.

    Args:
        base: the settings.
        certificate: of the command line.
        key: of the command line.
        folder: where paths of the settings begin.

    Raises:
        CommandError: one of both is missing or cannot be used, or the settings ask for TLS in a way that the commands
            could not speak, or in which TorchServe would make a certificate of its own that nobody can know.
    """
    if certificate is None and key is None:
        certificate, key = (folder / base[name] if name in base else None for name in (CERTIFICATE, KEY))
    if certificate is not None and key is not None:
        return Tls(certificate.absolute(), key.absolute())
    remedy = "Name both, PEM files: --tls-cert and --tls-key, or certificate_file and private_key_file in the settings."
    if certificate is not None or key is not None:
        raise CommandError("TLS needs a certificate and its key.", remedy=remedy)
    if "keystore" in base:
        raise CommandError("A keystore serves REST alone: gRPC and the commands need PEM files.", remedy=remedy)
    if any(base.get(name, "").startswith("https:") for name in ADDRESSES) or base.get("enable_grpc_ssl") == "true":
        raise CommandError("The settings ask for TLS and name no certificate.", remedy=remedy)
    return None


def listening_properties(base: Mapping[str, str], ports: Ports, tls: Tls | None, *, exposed: bool) -> dict[str, str]:
    """The settings that say where a server listens and how.

    Args:
        base: the user's settings.
        ports: the server's.
        tls: with what inference and management speak it; the metrics, which stay on this machine, do not.
        exposed: take addresses beyond this machine as the settings have them.

    Raises:
        CommandError: the settings name an address beyond this machine.
    """
    hosts = {name: _host(base.get(name, LOOPBACK)) for name in ADDRESSES}
    for name, host in hosts.items():
        if is_loopback(host):
            hosts[name] = LOOPBACK
        elif not exposed:
            raise CommandError(
                f"{name} is {base[name]}: whoever reaches that address could ask this server or manage it.",
                remedy="Leave it at 127.0.0.1 and put `activity front` before it (--host, --tls-cert, --tls-key); "
                "or say --expose if you mean it.",
            )
        elif host != EVERYWHERE:
            raise CommandError(
                f"{name} is {base[name]}, where the other commands would not find the server.",
                remedy=f"Use {EVERYWHERE}, which is also this machine's own address, or 127.0.0.1.",
            )
    scheme = "http" if tls is None else "https"
    secure = {} if tls is None else {CERTIFICATE: str(tls.certificate), KEY: str(tls.key), "enable_grpc_ssl": "true"}
    return {
        "inference_address": f"{scheme}://{hosts['inference_address']}:{ports.inference}",
        "management_address": f"{scheme}://{hosts['management_address']}:{ports.management}",
        "metrics_address": f"http://{hosts['metrics_address']}:{ports.metrics}",
        "grpc_inference_address": hosts["grpc_inference_address"],
        "grpc_management_address": hosts["grpc_management_address"],
        **secure,
    }


def loading_properties(base: Mapping[str, str], workflows: Path) -> dict[str, str]:
    """The settings that say from where a server may load code.

    Args:
        base: the user's settings.
        workflows: an empty folder. TorchServe registers what lies in its workflow store even where its model API is
            off, and that would be the model store.

    Raises:
        CommandError: the settings let archives come from anywhere.
    """
    allowed = base.get("allowed_urls", "none")  # without any TorchServe takes all
    for pattern in allowed.split(","):
        try:
            wide = [address for address in STRANGERS if re.fullmatch(pattern, address)]
        except re.error as exc:
            raise CommandError(f"allowed_urls: {pattern!r} is no pattern: {exc}.", remedy=ALLOWED_REMEDY) from exc
        if wide:
            raise CommandError(
                f"allowed_urls lets archives come from anywhere, such as {wide[0]}: {pattern!r}.", remedy=ALLOWED_REMEDY
            )
    return {"allowed_urls": allowed, "workflow_store": str(workflows)}


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _host(address: str) -> str:
    """Of ``http://HOST:PORT``, or of ``HOST`` alone."""
    return (urlsplit(address).hostname or "") if "://" in address else address.strip("[]")
