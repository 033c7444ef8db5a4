from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.container import open_container
from handler.limits import Limits
from handler.stream.fragments import MAX_HEADER_BYTES, find_header, is_fragment, with_header
from tests.media import X264, Picture, render
from tests.stream_media import CLUSTERS, FRAGMENTS, LONG_GOP, VP8, Tones, fragment_starts, record, split

PICTURE = Picture(num_frames=50, width=32, height=32, options=LONG_GOP)
WEBM = Picture(codec="libvpx", num_frames=50, width=32, height=32, options=VP8)
KINDS = {
    "moof": ("mp4", PICTURE, FRAGMENTS),
    "places in the file": ("mp4", PICTURE, (("movflags", "frag_keyframe+delay_moov"), ("frag_duration", "300000"))),
    "cluster": ("webm", WEBM, CLUSTERS),
}


def recording(kind: str) -> bytes:
    container, picture, options = KINDS[kind]
    return record(container, picture, Tones(seconds=2.0, codec="libopus" if container == "webm" else "aac"), options)


@pytest.mark.parametrize("kind", KINDS)
def test_a_later_fragment_opens_behind_the_header_of_its_recording(kind: str) -> None:
    whole = recording(kind)
    first, *others = split(whole, fragment_starts(whole))
    header = find_header(whole)
    assert header is not None
    assert find_header(first) == header
    assert first.startswith(header)
    assert not is_fragment(first)
    with open_container(whole, Limits()) as opened:
        assert opened.video is not None
        expected = [(item.pts, bytes(item)) for item in opened.video.packets.items]
    found: list[tuple[int | None, bytes]] = []
    for piece in (first, *others):
        assert is_fragment(piece) is (piece is not first)
        with open_container(with_header(header, piece) if is_fragment(piece) else piece, Limits()) as opened:
            if opened.video is not None:
                found += [(item.pts, bytes(item)) for item in opened.video.packets.items]
    assert found == expected


def test_a_file_without_fragments_has_no_such_header() -> None:
    assert find_header(render("mp4", Picture(num_frames=5, options=X264))) is None
    assert find_header(b"") is None
    assert find_header(b"RIFF....WAVE") is None


def test_a_header_that_is_too_long_is_not_kept() -> None:
    whole = recording("moof")
    padding = struct.pack(">I4s", MAX_HEADER_BYTES, b"free") + bytes(MAX_HEADER_BYTES - 8)
    assert find_header(padding + whole) is None


@given(st.binary(max_size=200), st.sampled_from([b"", b"\x1a\x45\xdf\xa3", b"\0\0\0\x08moof", b"\0\0\0\x01moov"]))
def test_no_bytes_are_too_odd(content: bytes, begin: bytes) -> None:
    data = begin + content
    header = find_header(data)
    assert header is None or data.startswith(header)
    assert with_header(b"header", data)[: len(b"header")] == b"header"
    is_fragment(data)
