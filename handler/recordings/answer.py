"""An answer that is sent while its recording is still being read: lines of NDJSON, as soon as what they say is final.

::

    {"type":"header","status":200,"model":{...},"start_seconds":0.0,"duration_seconds":3600.0,"modalities":{...}}
    {"type":"window",...}                        with the extra windows
    {"type":"segment",...}
    {"type":"progress","clock_seconds":32.0}     after each piece: so far the recording has been read
    {"type":"end","duration_seconds":3600.0,"activities":[...]}

Windows and segments are those of the ordinary answer, each once. What goes wrong after the header ends the lines with
``{"type":"error",...}`` in place of the end: only an answer with an end is whole.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import chain
from time import perf_counter

from handler.answer_text import encode_line
from handler.clip import Clip
from handler.errors import ActivityError, InvalidOptions
from handler.guard import guarded
from handler.inference import Scorer
from handler.measures import Measures, measuring, note_clip, note_windows, stage
from handler.options import RequestOptions, ResolvedOptions
from handler.recordings.pieces import ClipPiece, ModalityFailed, Pieces
from handler.recordings.recording import EmbeddingSum, Failed, OpenPieces, repeat_without_failed, score_pieces
from handler.response import (
    CONTENT_TYPES,
    Response,
    activity_values,
    extra_values,
    modality_values,
    render_error,
    rounded,
    segment_values,
    window_values,
)
from handler.rolling.decision import Decided, RollingDecision
from handler.rolling.scorer import RollingScorer
from handler.windows import Schedule


def check_streamable(options: RequestOptions, *, streamable: bool) -> None:
    """Refuse to answer line by line where the answer can only be sent at once.

    Raises:
        InvalidOptions: the options ask for it.
    """
    if options.stream and not streamable:
        raise InvalidOptions(
            "options: stream is for REST, and for requests that are no KServe body",
            remedy="Leave stream out, or send the recording by REST in parts or as the body.",
        )


@dataclass(frozen=True)
class StreamedAnswer:
    """One request's."""

    model: dict[str, str]
    """Name and version, as the answer says them."""
    scorer: Scorer
    options: ResolvedOptions
    open_pieces: OpenPieces

    def lines(self) -> Iterator[bytes]:
        """The header once the first piece is decoded, then what each piece adds, then the end.

        A modality that fails in the first piece is left out, as in every answer.

        Raises:
            ActivityError: nothing can be used, or a modality has failed in a later piece.
        """
        started = perf_counter()
        stack, pieces, first = repeat_without_failed(self._begin)
        with stack:
            note_clip(Clip(pieces.schedule, pieces.modalities))
            yield self._header(pieces)
            try:
                yield from self._read(pieces, chain((first,), pieces.pieces), started)
            except ModalityFailed as failure:  # what has been said used it
                raise failure.error from failure

    def _begin(self, failed: Failed) -> tuple[ExitStack, Pieces, ClipPiece]:
        with ExitStack() as stack:
            pieces = stack.enter_context(self.open_pieces(failed))
            first = next(pieces.pieces)
            return stack.pop_all(), pieces, first

    def _header(self, pieces: Pieces) -> bytes:
        span = pieces.schedule.span
        values = {
            "status": 200,
            "model": self.model,
            "start_seconds": rounded(span.start_seconds),
            "duration_seconds": rounded(span.duration_seconds),
            "modalities": modality_values(pieces.modalities),
        }
        return encode_line("header", values)

    def _read(self, pieces: Pieces, each: Iterator[ClipPiece], started: float) -> Iterator[bytes]:
        schedule, config = pieces.schedule, self.scorer.transforms.config
        rolling = RollingScorer(self.scorer, self.options.choice, window_hops=schedule.window_hops, whole_batches=True)
        decision = RollingDecision.begin(config, self.options, schedule.span.start_seconds)
        embedding, model_seconds, num_hops = EmbeddingSum(), 0.0, 0
        for scored, seconds in score_pieces(rolling, each):
            note_windows(len(scored.scores))
            embedding.add(scored.embeddings)
            model_seconds += seconds
            with stage("postprocess"):
                lines = self._lines_of(decision.push(scored.scores))
                if rolling.state.next_hop > num_hops:  # not for the windows that were left
                    lines += _progress(schedule, rolling.state.next_hop)
                num_hops = rolling.state.next_hop
            if lines:
                yield lines
        decided = decision.finish(schedule.span.stop_seconds)
        timing = {"decode_seconds": perf_counter() - started - model_seconds, "model_seconds": model_seconds}
        wanted = self.options.extras
        values = {
            "duration_seconds": rounded(schedule.span.duration_seconds),
            "activities": activity_values(decided.activities),
            **extra_values(
                embedding.mean() if "embedding" in wanted else None,
                timing if "timing" in wanted else None,
                pieces.transcript if "transcript" in wanted else None,
            ),
        }
        yield self._lines_of(decided) + encode_line("end", values)

    def _lines_of(self, decided: Decided) -> bytes:
        windows = decided.windows if "windows" in self.options.extras else None
        lines: list[bytes] = []
        if windows is not None:
            each = window_values(windows.spans, self.options.labels, windows.scores, windows.smoothed)
            lines += [encode_line("window", values) for values in each]
        lines += [encode_line("segment", segment_values(segment)) for segment in decided.segments]
        return b"".join(lines)


def _progress(schedule: Schedule, num_hops: int) -> bytes:
    clock_seconds = schedule.span.start_seconds + num_hops * schedule.stride_seconds
    return encode_line("progress", {"clock_seconds": rounded(min(clock_seconds, schedule.span.stop_seconds))})


def respond_in_lines(lines: Generator[bytes, None, None], request_id: str, measures: Measures) -> Response:
    """The response that begins with the first of ``lines`` and whose rest are the others; an error if there is none.

    Args:
        lines: of a :class:`StreamedAnswer`.
        request_id: for the log.
        measures: what is done for the lines is added to these.
    """

    def following() -> bytes | ActivityError:
        with measuring(measures), stage("decode"):
            return guarded(lambda: next(lines, b""), request_id)

    def rest() -> Generator[bytes, None, str]:
        with closing(lines):
            while more := following():
                if isinstance(more, ActivityError):
                    yield encode_line("error", more.body)
                    return more.code
                yield more
        return "ok"

    header = following()
    if isinstance(header, ActivityError):
        return render_error(header)
    return Response(200, "OK", CONTENT_TYPES["ndjson"], header, rest=rest())
