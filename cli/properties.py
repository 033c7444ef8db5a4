"""TorchServe's configuration file: read, changed, written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cli.errors import CommandError
from cli.ports import LOOPBACK, Ports


def read_properties(path: Path) -> dict[str, str]:
    """The keys and values of a ``.properties`` file, one ``key=value`` a line.

    Raises:
        CommandError: when the file is missing or a line is neither a setting, a comment nor empty.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as exc:
        raise CommandError(
            f"{path} cannot be read ({type(exc).__name__}).",
            remedy="Name TorchServe's settings with --config, or run the command from the project's folder.",
        ) from exc
    properties: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text or text.startswith(("#", "!")):
            continue
        key, equals, value = text.partition("=")
        if not equals:
            raise CommandError(f"{path}, line {number}: '{text}' is no setting.", remedy="Write it as key=value.")
        properties[key.strip()] = value.strip()
    return properties


def write_properties(path: Path, properties: Mapping[str, str]) -> None:
    """Write the file as Java reads it: Latin-1, so everything beyond ASCII is escaped."""
    lines = [f"{key}={_escape(value)}" for key, value in sorted(properties.items())]
    path.touch(mode=0o600)
    path.chmod(0o600)  # there may be a keystore's password among them
    path.write_text("\n".join(lines) + "\n", encoding="ascii")


def effective_properties(
    base: Mapping[str, str], ports: Ports, *, token_authorization: bool, enable_model_api: bool, workers: int = 1
) -> dict[str, str]:
    """The settings of one server: ``base`` with its ports, on the loopback address alone.

    For each worker as many requests may wait as ``base`` says. The model store and the models are left to the command
    line, which takes any path as it is.
    """
    queue = {"job_queue_size": str(int(base["job_queue_size"]) * workers)} if "job_queue_size" in base else {}
    return {
        **{key: value for key, value in base.items() if key not in {"model_store", "load_models"}},
        **queue,
        "inference_address": f"http://{LOOPBACK}:{ports.inference}",
        "management_address": f"http://{LOOPBACK}:{ports.management}",
        "metrics_address": f"http://{LOOPBACK}:{ports.metrics}",
        "grpc_inference_address": LOOPBACK,
        "grpc_inference_port": str(ports.grpc_inference),
        "grpc_management_address": LOOPBACK,
        "grpc_management_port": str(ports.grpc_management),
        "disable_token_authorization": _flag(not token_authorization),
        "enable_model_api": _flag(enable_model_api or base.get("enable_model_api") == "true"),
        # Names the workers' sockets, which lie in the server's own temp folder and so meet no other server's.
        "initial_worker_port": "9000",
    }


def _escape(value: str) -> str:
    """Java's escapes: a backslash doubled, what is beyond ASCII as UTF-16 units."""
    units = value.replace("\\", "\\\\").encode("utf-16-be")
    codes = [int.from_bytes(units[i : i + 2], "big") for i in range(0, len(units), 2)]
    return "".join(chr(code) if code < 128 else f"\\u{code:04x}" for code in codes)


def _flag(value: bool) -> str:
    return "true" if value else "false"
