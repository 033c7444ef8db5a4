from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable

from benchmarks.http_load import Reply, build_request, closed_loop, open_loop, percentile, send

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def ask_one(answer: bytes | None, *, timeout_seconds: float = 5.0) -> Reply:
    """Ask a server that answers so, and closes; None never answers."""

    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"--x--")
        if answer is None:
            await reader.read()
        elif answer:
            writer.write(answer)
        else:
            writer.transport.abort()
        writer.close()
        ended.set()

    async def run() -> Reply:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            reply = await send("127.0.0.1", port, b"--x--" + b"y" * 100_000, timeout_seconds=timeout_seconds)
            await asyncio.wait_for(ended.wait(), 5)
            return reply

    return asyncio.run(run())


def test_whole_answers_are_read() -> None:
    reply = ask_one(b"HTTP/1.1 503 Busy\r\nContent-Length: 2\r\nRetry-After: 3\r\n\r\nno")
    assert (reply.status, reply.body, reply.fault, reply.headers["retry-after"]) == (503, b"no", None, "3")
    reply = ask_one(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    assert (reply.status, reply.body) == (200, b"abcde")


def test_each_way_to_have_no_answer_is_told() -> None:
    assert ask_one(b"").fault in {"reset", "closed"}
    assert ask_one(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf").fault in {"reset", "closed"}
    assert ask_one(None, timeout_seconds=0.1).fault == "timeout"
    nobody = asyncio.run(send("127.0.0.1", 1, b"", timeout_seconds=5))
    assert (nobody.status, nobody.fault) == (None, "refused")


def test_a_request_has_its_parts_and_its_key() -> None:
    head, _, body = build_request({"video": b"123"}, token="k", host="h").partition(b"\r\n\r\n")
    assert head.startswith(b"POST /predictions/activity HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer k\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    assert body.count(b"123") >= 1


def test_loops_send_as_many_as_they_should() -> None:
    async def ask() -> Reply:
        await asyncio.sleep(0.05)
        return Reply(200, 0.05)

    closed = asyncio.run(closed_loop(ask, clients=4, seconds=0.5))
    assert 20 <= len(closed) <= 44

    async def openly() -> int:
        return len([await task for task in await open_loop(ask, rate=100, seconds=0.3)])

    assert asyncio.run(openly()) == 30


def test_percentiles() -> None:
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile([3.0, 1.0, 2.0], 0.99) == 3.0
    assert math.isnan(percentile([], 0.5))
