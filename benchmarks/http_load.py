"""HTTP requests as a load sends them: thousands from one thread, each on a connection of its own, each one's fate told.

An ordinary client hides what these measurements are about (a reset that it mends, a connection that it keeps), and
costs the processor that the server should have.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from uuid import uuid4

from client.rest import prediction_path

READ_BYTES = 65_536


@dataclass(frozen=True)
class Reply:
    """What became of one request."""

    status: int | None
    """None where no whole answer came."""
    seconds: float
    """From the wish to connect to the answer's last byte, or to the end of hope."""
    fault: str | None = None
    """Why no whole answer came: ``timeout``, ``refused`` (nobody listens), ``reset``, ``closed``."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """By name in lower case."""
    body: bytes = b""
    ended: float = field(default_factory=time.monotonic)
    """Seconds of the monotonic clock."""


def build_request(
    parts: Mapping[str, bytes], *, token: str | None, host: str, model: str = "activity", keep_alive: bool = False
) -> bytes:
    """The bytes of a multipart prediction request.

    Args:
        parts: each part's name and content.
        token: the key, or None.
        host: what the header Host says.
        model: the model's name.
        keep_alive: leave the connection open behind the answer.
    """
    boundary = uuid4().hex
    body = b"".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n".encode()
        + content
        + b"\r\n"
        for name, content in parts.items()
    )
    body += f"--{boundary}--\r\n".encode()
    lines = [
        f"POST {prediction_path(model, None)} HTTP/1.1",
        f"Host: {host}",
        *([] if token is None else [f"Authorization: Bearer {token}"]),
        f"Content-Type: multipart/form-data; boundary={boundary}",
        f"Content-Length: {len(body)}",
        f"Connection: {'keep-alive' if keep_alive else 'close'}",
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def send(host: str, port: int, request: bytes, *, timeout_seconds: float) -> Reply:
    """Send one request on a connection of its own, and read the whole answer."""
    began = time.monotonic()
    try:
        async with asyncio.timeout(timeout_seconds):
            status, headers, body = await _exchange(host, port, request)
    except TimeoutError:
        return Reply(None, time.monotonic() - began, "timeout")
    except ConnectionRefusedError:
        return Reply(None, time.monotonic() - began, "refused")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError, IndexError):
        return Reply(None, time.monotonic() - began, "closed")
    except OSError:
        return Reply(None, time.monotonic() - began, "reset")
    return Reply(status, time.monotonic() - began, None, headers, body)


async def closed_loop(
    ask: Callable[[], Awaitable[Reply]], *, clients: int, seconds: float, pause_seconds: float = 0.0
) -> list[Reply]:
    """Clients that ask again as soon as they are answered, for so many seconds; what is in flight then is waited for.

    Args:
        ask: sends one request.
        clients: how many at a time.
        seconds: how long new requests are sent.
        pause_seconds: what each client waits between an answer and its next request.
    """
    replies: list[Reply] = []
    stop = time.monotonic() + seconds

    async def client() -> None:
        while time.monotonic() < stop:
            replies.append(await ask())
            await asyncio.sleep(pause_seconds)

    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(client())
    return replies


async def open_loop(
    ask: Callable[[], Coroutine[None, None, Reply]], *, rate: float, seconds: float
) -> list[asyncio.Task[Reply]]:
    """So many requests a second at even distances, however long the answers take.

    Args:
        ask: sends one request.
        rate: requests a second.
        seconds: how long new requests are sent.

    Returns:
        What became or will become of each, as soon as the last one is sent.
    """
    began = time.monotonic()
    tasks = []
    for number in range(round(rate * seconds)):
        await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
        tasks.append(asyncio.create_task(ask()))
    return tasks


def percentile(values: list[float], share: float) -> float:
    """The value below which this share of the values lies; NaN of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


async def _exchange(host: str, port: int, request: bytes) -> tuple[int, dict[str, str], bytes]:
    reader, writer = await asyncio.open_connection(host, port, limit=READ_BYTES)
    try:
        writer.write(request)
        # Not drained: a server may answer, and close, before it has read everything.
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        status = int(head[0].split()[1])
        if status == 204:
            return status, headers, b""
        if "content-length" in headers:
            return status, headers, await reader.readexactly(int(headers["content-length"]))
        if headers.get("transfer-encoding") == "chunked":
            return status, headers, await _read_chunks(reader)
        return status, headers, await reader.read(-1)
    finally:
        writer.transport.abort() if writer.transport.get_write_buffer_size() else writer.close()


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while size := int(await reader.readline(), 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readexactly(2)
    return bytes(body)
