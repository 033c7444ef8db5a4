"""What a stream's next chunk has of each modality, opened, held against the stream's clock, and decoded."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from handler.clip import VectorSequence
from handler.container import Container, open_container
from handler.decode import ALWAYS_LISTED, nothing_usable
from handler.errors import ChunkOutOfOrder, InvalidOptions, InvalidRequest, LimitExceeded, UndecodableMedia
from handler.geometry import geometry_of
from handler.image import decode_image
from handler.limits import Limits
from handler.request import ActivityRequest
from handler.sources import NOT_IN_MODEL, NOT_SENT, Content, Unused, attempt
from handler.stream.arrived import GAP_SECONDS, Arrived
from handler.stream.fragments import find_header, is_fragment, with_header
from handler.stream.options import ChunkOptions
from handler.stream.packets import decode_seconds, follows, on_clock
from handler.stream.picture_track import PicturePart, PictureState, Places, continue_picture, find_part
from handler.stream.rows_track import continue_rows
from handler.stream.sound_track import continue_sound
from handler.stream.state import StreamState
from handler.tabular import parse_row
from handler.text import parse_text
from handler.vectors import parse_vectors
from handler.windows import Span
from models.config import Modality, ModelConfig

_ORDER_SECONDS = 0.002
"""A chunk may begin this much before the clock: containers round times, to milliseconds some of them."""

_SAME_SECONDS = 1e-9
"""Two packets this close are one: both times are rounded floats."""


@dataclass(frozen=True)
class _Opened:
    """A chunk's files, and what is wrong with those that do not open."""

    containers: Mapping[str, Container] = field(default_factory=dict)
    """By part, their packets on the stream's clock."""
    headers: Mapping[str, bytes] = field(default_factory=dict)
    fragments: frozenset[str] = frozenset()
    """The parts that go on in a recording whose first packets came before."""


def receive_chunk(
    request: ActivityRequest,
    chunk: ChunkOptions,
    config: ModelConfig,
    limits: Limits,
    state: StreamState | None,
    on_length: Callable[[float], None] | None = None,
) -> Arrived:
    """Open and decode what a chunk has.

    Args:
        request: what was sent.
        chunk: where it lies on the stream's clock.
        config: the model's.
        limits: bounds on what it may cost.
        state: what the last chunk left; None where the stream begins.
        on_length: is told how many seconds it leads further before anything is decoded.

    Raises:
        ActivityError: as :func:`handler.stream.chunk.decode_chunk`.
    """
    receiver = _Receiver(request, chunk, config, limits, state)
    receiver.on_length = on_length
    receiver.receive()
    return receiver.found


class _Receiver:
    """One chunk on its way."""

    def __init__(
        self,
        request: ActivityRequest,
        chunk: ChunkOptions,
        config: ModelConfig,
        limits: Limits,
        state: StreamState | None,
    ) -> None:
        self.request, self.chunk, self.config, self.limits, self.state = request, chunk, config, limits, state
        self.hop_seconds = config.windows.stride_seconds
        self.found = Arrived()
        self.on_length: Callable[[float], None] | None = None

    def receive(self) -> None:
        """Decode all of it."""
        with ExitStack() as stack:
            opened = self._open(stack)
            self._check_reach([container.span for container in opened.containers.values()])
            self._check_start([container.span for container in opened.containers.values()])
            self._check_order(opened)
            self._find(opened)
            self._decode_sound(opened)
            self._parse()
            self._decode_pictures()
        if self.request.parts:
            self._check_usable()
        self.found.headers = opened.headers

    # Opening

    def _open(self, stack: ExitStack) -> _Opened:
        listens, config = self.config.audio is not None, self.config
        wanted = {"video": config.video is not None or listens, "audio": listens, "depth": config.depth is not None}
        containers: dict[str, Container] = {}
        headers: dict[str, bytes] = {} if self.state is None else dict(self.state.headers)
        fragments: set[str] = set()
        for part, is_wanted in wanted.items():
            content = getattr(self.request, part)
            if content is None or not is_wanted:
                continue
            names: tuple[Modality, ...] = (part,)
            if part == "video" and self.request.audio is None:
                names = ("video", "audio")  # what does not open cannot be used for anything
            opened = self._attempt(partial(self._open_part, content, headers.get(part), stack), *names)
            if opened is None:
                continue
            container, data, goes_on = opened
            containers[part] = container.with_packets(lambda it: on_clock(it, self.chunk.offset_seconds))
            header = find_header(data)
            if header is not None:
                headers[part] = header
            if goes_on:
                fragments.add(part)
        return _Opened(containers, headers, frozenset(fragments))

    def _open_part(self, content: bytes, header: bytes | None, stack: ExitStack) -> tuple[Container, bytes, bool]:
        """A part's container, its file as it was opened, and whether it begins in a recording's midst."""
        data, goes_on = self._with_header(content, header)
        return stack.enter_context(open_container(data, self.limits, keep_packets=True)), data, goes_on

    def _with_header(self, content: bytes, header: bytes | None) -> tuple[bytes, bool]:
        """A file that opens, and whether its first packet is one from the midst of a recording."""
        if not is_fragment(content):
            return content, header is not None and content.startswith(header)
        if header is None:
            raise UndecodableMedia(
                "the chunk is a fragment, and the header of its recording has not been sent",
                remedy="Begin the stream with the recording's first bytes.",
            )
        return with_header(header, content), True

    def _attempt(self, step: Callable[[], Content], *names: Modality) -> Content | None:
        """Run a step of these modalities; what it raises is why they are not used, and None is given."""
        content = attempt(step)
        if not isinstance(content, Unused):
            return content
        self.found.faults |= {name: content for name in names if name in self.config.modalities}
        return None

    def _container(self, name: Modality, opened: _Opened) -> Container | None:
        part = "video" if name == "audio" and self.request.audio is None else name
        return opened.containers.get(part)

    # Order

    def _check_reach(self, spans: Sequence[Span]) -> None:
        """Hold how far a chunk leads before anything is decoded for it, the silence of a gap among it."""
        if not spans:
            return
        begin = min(span.start_seconds for span in spans) if self.state is None else self.state.stop_seconds
        seconds = max(span.stop_seconds for span in spans) - begin
        if seconds > self.limits.max_duration_seconds:
            raise LimitExceeded(
                "seconds",
                f"the chunk leads {seconds:.1f} s further, at most {self.limits.max_duration_seconds:g} s are allowed",
                remedy="Send shorter chunks, begin a new stream after a long gap, or say with chunk.offset_seconds"
                " where the chunk lies.",
            )
        if self.on_length is not None:
            self.on_length(max(0.0, seconds))

    def _check_start(self, spans: Sequence[Span]) -> None:
        """A chunk of which nothing counts was placed wrongly."""
        start, stop = self.chunk.start_seconds, max((span.stop_seconds for span in spans), default=math.inf)
        if start is not None and start > stop + GAP_SECONDS and not self.request.vectors:
            raise InvalidOptions(
                f"options: chunk.start_seconds is {start:.3f} s, and what was sent ends at {stop:.3f} s",
                remedy="Say where on the stream's clock the part that counts begins, and with chunk.offset_seconds"
                " where the file lies.",
            )

    def _check_order(self, opened: _Opened) -> None:
        """A chunk that begins before what is known came twice, or out of order."""
        state, start = self.state, self.chunk.start_seconds
        if state is None:
            return
        if start is not None:
            if start < state.clock_seconds - _ORDER_SECONDS:
                raise self._out_of_order("start_seconds is", start)
            return
        for name in ("video", "depth"):
            container, picture = self._container(name, opened), state.pictures.get(name)
            if container is None or container.video is None or picture is None:
                continue
            packets = container.video.packets
            if picture.decoded_seconds is None:
                late = packets.span.start_seconds < picture.known_seconds - _ORDER_SECONDS
            else:
                late = decode_seconds(packets, 0) <= picture.decoded_seconds + _SAME_SECONDS
            if late:
                raise self._out_of_order(f"its {name} begins at", packets.span.start_seconds)
        container = self._container("audio", opened)
        if container is not None and container.audio is not None and state.sound is not None:
            packets, latest = container.audio.packets, state.sound.decoded_seconds + _SAME_SECONDS
            begin = decode_seconds(packets, 0)
            # What an encoder puts before a file of its own lies beside the end of the file before.
            if begin <= latest and (packets.span.start_seconds <= latest or begin > latest - 2 * _SAME_SECONDS):
                raise self._out_of_order("its sound begins at", packets.span.start_seconds)

    def _out_of_order(self, what: str, seconds: float) -> ChunkOutOfOrder:
        clock = 0.0 if self.state is None else self.state.clock_seconds
        return ChunkOutOfOrder(
            f"the chunk came twice or out of order: {what} {seconds:.3f} s, the stream is known up to {clock:.3f} s",
            remedy="Send the chunks one after the other, each with the state of the last answer. If each is a file"
            " whose own times begin anew, say where it lies with chunk.offset_seconds; of packets that only let the"
            " decoder begin, say with chunk.start_seconds where they end.",
            details={"chunk_seconds": round(seconds, 6), "clock_seconds": round(clock, 6)},
        )

    # What there is of each modality

    def _find(self, opened: _Opened) -> None:
        """See what there is of the pictures."""
        for name, config in (("video", self.config.video), ("depth", self.config.depth)):
            container = self._container(name, opened)
            if config is None or container is None or container.video is None:
                continue
            before = None if self.state is None else self.state.pictures.get(name)
            chunk = self.chunk
            self.found.parts[name] = find_part(
                container,
                before,
                start_seconds=chunk.start_seconds,
                stop_seconds=chunk.stop_seconds,
                last=chunk.last,
                is_gapless=name == "video" and self._is_heard_on(container),
            )

    def _is_heard_on(self, container: Container) -> bool:
        """Whether the sound in the picture's own container goes on after that of the chunk before."""
        sound = None if self.state is None or self.request.audio is not None else self.state.sound
        return (
            sound is not None
            and sound.lead is not None
            and container.audio is not None
            and follows(sound.lead, container.audio)
        )

    def _decode_sound(self, opened: _Opened) -> None:
        container, audio = self._container("audio", opened), self.config.audio
        if audio is None or container is None or container.audio is None:
            return
        before = None if self.state is None else self.state.sound
        start = self.chunk.start_seconds
        if start is not None and before is not None:
            start = max(start, before.counted_seconds)
        part = "video" if self.request.audio is None else "audio"
        step = partial(
            continue_sound,
            container,
            before,
            audio.sample_rate,
            self.limits,
            start_seconds=start,
            stop_seconds=self.chunk.stop_seconds,
            is_fragment=part in opened.fragments,
        )
        self.found.sound = self._attempt(step, "audio")
        if self.found.sound is None:
            return
        span = container.audio.span
        begins = span.start_seconds if start is None else min(max(start, span.start_seconds), span.stop_seconds)
        self.found.sound_begins = self.found.sound.start_seconds if before is None else begins

    def _parse(self) -> None:
        """What has no container."""
        request, config, limits, found = self.request, self.config, self.limits, self.found
        if request.text is not None and config.text is not None:
            text = request.text
            found.words = self._attempt(lambda: parse_text(text, limits), "text")
        image, picture = config.image, request.image
        if image is not None and picture is not None:
            found.image = self._attempt(lambda: decode_image(picture, image.size, limits, geometry_of(image)), "image")
        table, content = config.tabular, request.tabular
        if table is not None and content is not None:
            found.row = self._attempt(lambda: parse_row(content, table, limits), "tabular")
        for name, sent in request.vectors.items():
            sequence = self._attempt(partial(parse_vectors, sent, config.vectors[name], limits), name)
            if sequence is not None:
                self._place_rows(name, sequence)

    def _place_rows(self, name: Modality, sequence: VectorSequence) -> None:
        chunk, before = self.chunk, None if self.state is None else self.state.rows.get(name)
        sequence = replace(sequence, seconds=sequence.seconds + chunk.offset_seconds)
        self._check_reach([sequence.span])
        begins = float(sequence.seconds[0])
        if before is not None and chunk.start_seconds is None and begins <= before.known_seconds:
            raise self._out_of_order(f"its {name} begins at", begins)
        first = -np.inf if chunk.start_seconds is None else chunk.start_seconds
        if before is not None:
            first = max(first, np.nextafter(before.known_seconds, np.inf))
        stop = np.inf if chunk.stop_seconds is None else chunk.stop_seconds
        rows = continue_rows(sequence, before, first=first, stop=stop)
        if rows is not None:
            self.found.rows[name], self.found.row_begins[name] = rows, max(begins, first)

    def _decode_pictures(self) -> None:
        """Decode the pictures; where one fails, the stream begins with what the others have."""
        found = self.found
        while True:
            found.start_seconds = self._start_seconds()
            decoded: dict[Modality, PictureState] = {}
            for name, part in found.parts.items():
                picture = self._attempt(partial(self._decode_picture, name, part, found.start_seconds), name)
                if picture is None:
                    del found.parts[name]
                    break
                decoded[name] = picture
            else:
                found.pictures = decoded
                return

    def _decode_picture(self, name: Modality, part: PicturePart, start_seconds: float) -> PictureState:
        config = self.config.video if name == "video" else self.config.depth
        if config is None:
            raise ValueError(f"the model has no {name}")
        before = None if self.state is None else self.state.pictures.get(name)
        next_hop = 0 if self.state is None else self.state.next_hop
        places = Places(start_seconds, self.hop_seconds, config.frames_per_hop, next_hop * config.frames_per_hop)
        return continue_picture(part, before, places, config, self.limits)

    def _start_seconds(self) -> float:
        if self.state is not None:
            return self.state.start_seconds
        starts = [start for start, _ in self.found.spans().values()]
        if starts:
            return min(starts)
        self._check_usable()
        raise InvalidRequest(
            "a stream begins with what has times: video, sound, depth or vectors",
            remedy="Send the first words, picture or row with the first piece of the recording.",
        )

    def _check_usable(self) -> None:
        """Hold that something of what was sent can be used.

        Raises:
            ActivityError: the one fault, or all of them.
        """
        found, model, sent = self.found, self.config.modalities, self.request.parts
        if found.spans() or any(each is not None for each in (found.words, found.image, found.row)):
            return
        listed = dict.fromkeys((*ALWAYS_LISTED, *model, *sent))
        unused = {name: found.faults.get(name, NOT_SENT) if name in model else NOT_IN_MODEL for name in listed}
        raise nothing_usable(self.request, self.config, unused)
