from __future__ import annotations

from collections.abc import Collection, Generator, Mapping, Sequence

from handler.recordings.delivery import deliver
from handler.response import Response


def whole(body: bytes) -> Response:
    return Response(200, "OK", "application/json", body)


def rest_of(pieces: Sequence[bytes], code: str) -> Generator[bytes, None, str]:
    yield from pieces
    return code


def streamed(*pieces: bytes, code: str = "ok") -> Response:
    return Response(200, "OK", "application/x-ndjson", pieces[0], rest=rest_of(pieces[1:], code))


def test_whole_answers_go_first_and_the_others_take_turns() -> None:
    sent: list[tuple[dict[int, bytes], list[int]]] = []

    def send(bodies: Mapping[int, bytes], going: Collection[int]) -> None:
        sent.append((dict(bodies), sorted(going)))

    responses = [streamed(b"a", b"b", b"c"), whole(b"1"), streamed(b"x", code="undecodable_media"), whole(b"2")]
    delivered = deliver(responses, send)
    assert sent == [
        ({0: b"a", 1: b"1", 2: b"x", 3: b"2"}, [0, 2]),
        ({0: b"b", 2: b""}, [0]),
        ({0: b"c"}, [0]),
    ]
    assert delivered.last == {0: b""}
    assert delivered.codes == {0: "ok", 2: "undecodable_media"}


def test_a_batch_without_streams_is_the_servers_own_message() -> None:
    delivered = deliver([whole(b"1"), whole(b"2")], lambda *_: None)
    assert delivered.last == {0: b"1", 1: b"2"}
    assert delivered.codes == {}
