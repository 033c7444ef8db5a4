from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np

from handler.container import Container, open_container
from handler.limits import Limits
from handler.packets import skipped_samples
from handler.packing import pack, unpack
from handler.stream.fragments import find_header, with_header
from handler.stream.packets import Lead, bare, decode_seconds, follows, joined, on_clock, stream_kind, take_lead
from tests.media import Picture
from tests.stream_media import FRAGMENTS, LONG_GOP, Tones, fragment_starts, record, split

RECORDING = record("mp4", Picture(num_frames=75, width=32, height=32, options=LONG_GOP), Tones(seconds=3.0), FRAGMENTS)


def opened(piece: bytes, offset_seconds: float = 0.0) -> Container:
    return open_container(piece, Limits()).with_packets(lambda packets: on_clock(packets, offset_seconds))


def parts() -> tuple[bytes, bytes, bytes]:
    starts = fragment_starts(RECORDING)
    first, second, third = split(RECORDING, [starts[2], starts[5]])
    header = find_header(RECORDING)
    assert header is not None
    return first, with_header(header, second), with_header(header, third)


def test_a_lead_comes_back_as_it_was_and_its_packets_too() -> None:
    with opened(RECORDING) as container:
        assert container.video is not None
        lead = take_lead(container.video, 60)
        again = Lead.of_values(unpack(pack(lead.values()), 1_000_000))
        assert (again.kind, again.time_base, again.origin_seconds) == (lead.kind, lead.time_base, 0.0)
        assert again.num_bytes == sum(item.size for item in container.video.packets.items[60:])
        for item, original in zip(again.items(lead.time_base, 0.0), container.video.packets.items[60:], strict=True):
            assert bytes(item) == bytes(original)
            assert (item.pts, item.dts, item.duration) == (original.pts, original.dts, original.duration)
            assert item.is_keyframe == original.is_keyframe


def test_the_times_of_a_lead_go_over_into_another_file() -> None:
    lead = Lead(
        ("h264", "x"),
        (b"a", b"b"),
        np.array([[10, -(2**63), 5], [15, 12, 5]]),
        np.array([True, False]),
        Fraction(1, 10),
        2.0,
    )
    assert lead.stop_seconds == 2.0 + 1.7
    items = lead.items(Fraction(1, 1000), 1.5)
    assert [(item.pts, item.dts, item.duration) for item in items] == [(1500, None, 500), (2000, 1700, 500)]


def test_a_lead_is_followed_by_the_next_packet_of_its_stream_alone() -> None:
    first, second, third = parts()
    with opened(first) as before, opened(second) as after, opened(third) as later:
        assert before.video is not None
        assert after.video is not None
        assert later.video is not None
        lead = take_lead(before.video, 0)
        assert follows(lead, after.video)
        assert not follows(lead, before.video)
        assert not follows(lead, later.video)
        assert not follows(replace(lead, kind=("h264", "another set-up")), after.video)
        assert decode_seconds(after.video.packets, 0) > decode_seconds(before.video.packets, -1)
        assert before.audio is not None
        assert stream_kind(before.audio) != stream_kind(before.video)


def test_joined_packets_are_those_of_the_recording() -> None:
    first, second, _ = parts()
    with opened(RECORDING) as whole, opened(first) as before, opened(second) as after:
        assert whole.video is not None
        assert before.video is not None
        assert after.video is not None
        packets = joined(take_lead(before.video, 0), after.video.packets)
        count = len(packets.items)
        assert count > len(after.video.packets.items)
        assert packets.pts.tolist() == whole.video.packets.pts[:count].tolist()
        assert packets.is_key.tolist() == whole.video.packets.is_key[:count].tolist()
        assert packets.is_exact
        assert packets.span == after.video.packets.span


def test_an_offset_moves_packets_on_the_clock() -> None:
    with opened(RECORDING) as plain, opened(RECORDING, 7.0) as moved:
        assert plain.video is not None
        assert moved.video is not None
        assert moved.video.span.start_seconds == plain.video.span.start_seconds + 7.0
        assert moved.video.span.stop_seconds == plain.video.span.stop_seconds + 7.0
        assert decode_seconds(moved.video.packets, 3) == decode_seconds(plain.video.packets, 3) + 7.0


def test_a_bare_packet_has_its_times_and_nothing_that_is_to_be_cut() -> None:
    with opened(RECORDING) as container:
        assert container.audio is not None
        item = container.audio.packets.items[0]
        assert skipped_samples(item) == (1024, 0)
        copy = bare(item)
        assert skipped_samples(copy) == (0, 0)
        assert (bytes(copy), copy.pts, copy.dts, copy.duration) == (bytes(item), item.pts, item.dts, item.duration)
