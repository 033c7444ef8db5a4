"""Which ports a server listens on: the usual ones where they are free, others where they are not."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace

from cli.errors import PortTaken

LOOPBACK = "127.0.0.1"

LOWEST_OWN_PORT, HIGHEST_OWN_PORT = 20_000, 32_000
"""Own ports are taken below 32768, where Linux begins to give ports to outgoing connections."""
MAX_ATTEMPTS = 1_000


@dataclass(frozen=True)
class Ports:
    """The five ports of a TorchServe; the defaults are TorchServe's own."""

    inference: int = 8080
    management: int = 8081
    metrics: int = 8082
    grpc_inference: int = 7070
    grpc_management: int = 7071

    @property
    def numbers(self) -> tuple[int, ...]:
        """All five."""
        return tuple(asdict(self).values())


@dataclass(frozen=True)
class WantedPorts:
    """The ports a user asked for; None leaves the choice open."""

    inference: int | None = None
    management: int | None = None
    metrics: int | None = None
    grpc_inference: int | None = None
    grpc_management: int | None = None


def choose_ports(wanted: WantedPorts, *, report: Callable[[str], None], usual: Ports | None = None) -> Ports:
    """Choose five free ports.

    Args:
        wanted: what the user asked for; such a port must be free.
        report: is told of every usual port that is taken and what is used in its place.
        usual: what is tried first where the choice is open.

    Raises:
        PortTaken: when a wanted port is in use, or named twice.
    """
    chosen = usual or Ports()
    asked = {name: number for name, number in asdict(wanted).items() if number is not None}
    _check_asked(asked)
    taken: set[int] = set(asked.values())
    for field in fields(Ports):
        name, port = field.name, getattr(chosen, field.name)
        if name in asked:
            chosen = replace(chosen, **{name: asked[name]})
            continue
        if port in taken or not is_free(port):
            own = find_free_port(taken)
            report(f"Port {port} ({describe(name)}) is taken; using {own}.")
            port = own
        taken.add(port)
        chosen = replace(chosen, **{name: port})
    return chosen


def _check_asked(asked: dict[str, int]) -> None:
    for name, number in asked.items():
        if list(asked.values()).count(number) > 1:
            raise PortTaken(
                f"Port {number} is asked for twice.", remedy="Give each of the server's ports its own number."
            )
        if not is_free(number):
            raise PortTaken(
                f"Port {number} ({describe(name)}) is taken.",
                remedy="Leave the option out to have a free one chosen, name another, or stop what listens there.",
            )


def describe(name: str) -> str:
    """A port's purpose in words: ``grpc_inference`` is ``gRPC inference``."""
    return name.replace("grpc", "gRPC").replace("_", " ")


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of the loopback address now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the server does: a port whose last connections are just closing is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen()
        except OSError:
            return False
    return True


def find_free_port(but: set[int]) -> int:
    """A free port that is not one of ``but``; two servers that start at once hardly meet on it."""
    generator = random.SystemRandom()
    for _ in range(MAX_ATTEMPTS):
        port = generator.randrange(LOWEST_OWN_PORT, HIGHEST_OWN_PORT)
        if port not in but and is_free(port):
            return port
    raise PortTaken(
        f"No free port was found between {LOWEST_OWN_PORT} and {HIGHEST_OWN_PORT}.",
        remedy="Stop some of the servers on this machine.",
    )
