"""Slow clients: each comes, is slow in its own way until it is let go, and comes again."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import psutil

HALF = 20_000
"""Bytes of half a body."""
HEAD_EVERY_SECONDS = 3.0
DRIP_EVERY_SECONDS = 5.0
SMALL = b"GET /gate HTTP/1.1\r\nHost: slow\r\n\r\n"
"""A request that is answered at once, with next to nothing, by the front itself where there is one."""
LARGE = "GET /api-description HTTP/1.1"
"""A request that is answered with 23 KB."""
UNREAD_REQUESTS = 300
"""More than the buffers of both sides hold."""
SMALL_BUFFER_BYTES = 4_096
LOOK_SECONDS = 0.5
AGAIN_SECONDS = 1.0
TCP_ESTABLISHED = 1
OPEN = {psutil.CONN_ESTABLISHED, psutil.CONN_CLOSE_WAIT}


@dataclass
class Held:
    """Slow clients' connections, as the clients see them and as the side that they come to does."""

    lives: dict[str, list[float]] = field(default_factory=dict)
    """By kind: seconds from a client's last byte (of a head or a drip: from its first) until it was let go."""
    ports: dict[int, tuple[str, float]] = field(default_factory=dict)
    """By the client's port: its kind, and since when it counts."""
    oldest_seconds: dict[str, float] = field(default_factory=dict)
    """By kind: how long a connection was still open at the other side, counted in the same way."""
    most: int = 0
    """Open at a time at the other side."""
    failed: Counter[str] = field(default_factory=Counter)
    """Clients that did not get a connection, by kind and error."""


@dataclass(frozen=True)
class Client:
    """One connection of a slow client."""

    connection: socket.socket
    request: bytes
    """A whole prediction request."""
    count_from_now: Callable[[], None]
    """Says that the last byte has just been sent."""

    async def send(self, content: bytes) -> None:
        """Send all of it."""
        await asyncio.get_running_loop().sock_sendall(self.connection, content)

    async def wait_for_end(self) -> None:
        """Read until there is nothing more."""
        while await asyncio.get_running_loop().sock_recv(self.connection, 65_536):
            pass

    async def drip(self, content: bytes, every_seconds: float) -> None:
        """Send this again and again, until the other side ends the connection."""
        ended = asyncio.create_task(self.wait_for_end())
        try:
            while not (await asyncio.wait({ended}, timeout=every_seconds))[0]:
                await self.send(content)
            ended.result()
        finally:
            ended.cancel()  # and seen to its end, for the socket is closed next
            await asyncio.gather(ended, return_exceptions=True)

    @property
    def head(self) -> bytes:
        """The request's head, with its end."""
        return self.request.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"

    @property
    def is_open(self) -> bool:
        """Whether the other side has not ended the connection, as the kernel knows without reading."""
        return self.connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == TCP_ESTABLISHED


async def _say_nothing(client: Client) -> None:
    await client.wait_for_end()


async def _never_end_the_head(client: Client) -> None:
    await client.send(client.head[:-2])
    await client.drip(b"X-Slow: 1\r\n", HEAD_EVERY_SECONDS)


async def _send_half(client: Client) -> None:
    await client.send(client.request[: len(client.head) + HALF])
    client.count_from_now()
    await client.wait_for_end()


async def _drip_the_body(client: Client) -> None:
    await client.send(client.head)
    await client.drip(b"x", DRIP_EVERY_SECONDS)


async def _keep_the_connection(client: Client) -> None:
    await client.send(SMALL)
    await asyncio.get_running_loop().sock_recv(client.connection, 65_536)
    client.count_from_now()
    await client.wait_for_end()


async def _leave_answers_unread(client: Client) -> None:
    head = [line for line in client.head.split(b"\r\n") if line.startswith((b"Host", b"Authorization"))]
    wanted = b"\r\n".join([LARGE.encode(), *head, b"", b""])
    sending = asyncio.create_task(client.send(wanted * UNREAD_REQUESTS))
    try:
        await asyncio.wait({sending}, timeout=AGAIN_SECONDS)
        client.count_from_now()
        while client.is_open:
            await asyncio.sleep(LOOK_SECONDS)
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


UNREAD, DRIP = "unread", "drip"
KINDS: Mapping[str, Callable[[Client], Awaitable[None]]] = {
    "silent": _say_nothing,
    "head": _never_end_the_head,
    "body": _send_half,
    "idle": _keep_the_connection,
    UNREAD: _leave_answers_unread,
    DRIP: _drip_the_body,
}


class SlowClients:
    """Slow clients of one address.

    Args:
        host: the address.
        port: its port.
        request: a whole prediction request.
    """

    def __init__(self, host: str, port: int, request: bytes) -> None:
        self._address = (host, port)
        self._request = request
        self.held = Held()

    async def go_on(self, kind: str) -> None:
        """Be one client of a kind, again and again."""
        while True:
            try:
                await self.hold(kind)
            except OSError as exc:
                self.held.failed[f"{kind}: {type(exc).__name__}"] += 1
                await asyncio.sleep(AGAIN_SECONDS)

    async def hold(self, kind: str) -> float:
        """Be one client of a kind once.

        Returns:
            The seconds until it was let go.

        Raises:
            OSError: when it does not get a connection.
        """
        with socket.socket() as connection:
            connection.setblocking(False)
            if kind == UNREAD:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER_BYTES)
            await asyncio.get_running_loop().sock_connect(connection, self._address)
            port = connection.getsockname()[1]

            def count_from_now() -> None:
                self.held.ports[port] = (kind, time.monotonic())

            count_from_now()
            try:
                with suppress(ConnectionError):
                    await KINDS[kind](Client(connection, self._request, count_from_now))
                seconds = time.monotonic() - self.held.ports[port][1]
                self.held.lives.setdefault(kind, []).append(seconds)
                return seconds
            finally:
                del self.held.ports[port]

    async def look_on(self) -> None:
        """See which connections are open at the other side, and for how long, again and again."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            there = await asyncio.to_thread(_open_at, self._address[1])
            now = time.monotonic()
            known = [self.held.ports[port] for port in there if port in self.held.ports]
            self.held.most = max(self.held.most, len(known))
            for kind, since in known:
                self.held.oldest_seconds[kind] = max(self.held.oldest_seconds.get(kind, 0.0), now - since)


def _open_at(port: int) -> set[int]:
    """The far ports of the connections that are open at a port of this machine."""
    return {
        each.raddr.port
        for each in psutil.net_connections(kind="tcp")
        if each.laddr and each.raddr and each.laddr.port == port and each.status in OPEN
    }
