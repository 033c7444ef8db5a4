from __future__ import annotations

from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from client.chunk_files import choose_format
from client.cutting import Cutter
from client.sources import open_source, read_address
from handler.audio import decode_waveform
from handler.container import open_container
from handler.limits import Limits
from handler.stream.sound_track import SoundState, continue_sound
from tests.media import Sound, render

RATE, LIMITS = 16_000, Limits()


def test_sound_whose_packets_come_a_little_early_goes_on_where_it_is(tmp_path: Path) -> None:
    """The line runs 12 ms ahead of the packets' times from 2 s on, as in containers that round them: none is lost."""
    path = tmp_path / "sound.mp4"
    path.write_bytes(render("mp4", Sound(seconds=6.0, rate=RATE)))
    with open_source(read_address(str(path))) as source, closing(source):
        kind = choose_format(source.container, source.codecs)
        assert kind is not None
        packets = [_early(held) if held.pts > 2 else held for held in source.held()]
        chunks = list(Cutter(kind, source.streams, 1.0).cut(packets))
        (whole,) = Cutter(kind, source.streams, 60.0).cut(packets)
    with open_container(whole.data, LIMITS) as container:
        expected = decode_waveform(container, RATE, LIMITS).samples
    state: SoundState | None = None
    for chunk in chunks:
        said = chunk.options()
        start = said.get("start_seconds")
        if state is not None and start is not None:
            start = max(start, state.counted_seconds)
        with open_container(chunk.data, LIMITS) as container:
            state = continue_sound(
                container,
                state,
                RATE,
                LIMITS,
                start_seconds=start,
                stop_seconds=said.get("stop_seconds"),
                is_fragment=False,
            )
    assert state is not None
    assert state.stop_seconds > state.counted_seconds + 0.01
    assert np.array_equal(state.ended(RATE, LIMITS).samples, expected)


def _early(held: Any) -> Any:
    from dataclasses import replace  # noqa: PLC0415

    moved = Fraction(12, 1000)
    ticks = int(moved / held.packet.time_base)
    held.packet.pts -= ticks
    held.packet.dts -= ticks
    return replace(held, pts=held.pts - moved, dts=held.dts - moved, start=held.start - moved, stop=held.stop - moved)
