"""The portable core: a list of requests in, a list of answers or errors of the same length out. It knows no server.

    bytes -> request -> decode -> windows -> transform -> batching -> models -> smoothing -> segments -> response

Whoever serves, scores offline, evaluates or moves to another server calls this, so all of them give the same answer.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Self

from handler.batch_time import within_batch
from handler.clip import Clip
from handler.decoder import Decoder, LocalDecoder
from handler.description import Describer, check_descriptions
from handler.errors import ActivityError
from handler.explain.explanation import check_explained, explain, explainable_hops, score_encoded
from handler.guard import guarded
from handler.inference import ScoredWindows
from handler.kserve.body import Instance, Unfolded, check_alone, fold, unfold
from handler.limits import Limits
from handler.measures import Measures, Outcome, measuring, note_clip, note_parts, note_windows, stage
from handler.options import ResolvedOptions, resolve_options, with_explanation
from handler.recordings.answer import StreamedAnswer, check_streamable, respond_in_lines
from handler.recordings.pieces import HOPS_PER_PIECE, Pieces
from handler.recordings.recording import ReadClip, decode_anew, read_clip
from handler.request import ActivityRequest, parse_request
from handler.response import Prediction, Response, WindowScores, render_error
from handler.runtime import Runtime, choose_runtime
from handler.segments import build_segments, rank_activities
from handler.smoothing import ActivitySmoothing
from handler.stream.response import render_any
from handler.stream.session import StreamedChunk, Streams, check_state
from handler.transcription import Transcriber, split_transcription
from handler.zero_shot import ZeroShotScorer, build_scorer
from models.checkpoint import Checkpoint, load_checkpoint
from models.config import Modality
from models.side_models import CAPTIONER_FOLDER, TRANSCRIBER_FOLDER


@dataclass(frozen=True)
class _Decoded:
    """A request between decode and model."""

    options: ResolvedOptions
    read: ReadClip
    decode_seconds: float
    request: ActivityRequest

    @property
    def clip(self) -> Clip:
        return self.read.clip


@dataclass(frozen=True)
class _Asked:
    """An instance that came, and what its own parts do not say of it."""

    raw: Instance
    num_instances: int
    """Of the body it came in."""
    request_id: str
    explained: bool
    """Its address asks for an explanation."""
    streamable: bool
    """Its answer may be sent piece by piece."""
    measures: Measures


class ActivityPipeline:
    """The stages of one model.

    Args:
        checkpoint: model, labels, preprocessing, calibration.
        runtime: device, dtype, threads; chosen for this machine by default.
        limits: what a request may cost.
        stream_key: signs the states of streams; by default one of this process alone.
        decoder: decodes; by default this process does.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        runtime: Runtime | None = None,
        limits: Limits | None = None,
        stream_key: bytes | None = None,
        decoder: Decoder | None = None,
    ) -> None:
        self.description = checkpoint.description
        self.config = checkpoint.description.config
        self.runtime = runtime or choose_runtime()
        self.limits = limits or Limits()
        self.scorer = build_scorer(checkpoint, self.runtime)
        self.decoder = decoder or LocalDecoder(self.config)
        self.streams = Streams(checkpoint, self.scorer, self.limits, self.decoder, stream_key)
        folder, config = checkpoint.folder, self.config
        self.transcriber = self.describer = None
        if folder is not None and config.transcriber is not None:
            self.transcriber = Transcriber(folder / TRANSCRIBER_FOLDER, config.transcriber, self.runtime)
        if folder is not None and config.captioner is not None:
            self.describer = Describer(folder / CAPTIONER_FOLDER, config.captioner, self.runtime)

    @classmethod
    def from_checkpoint(cls, folder: Path, **settings: Any) -> Self:
        """Load a checkpoint folder (:mod:`models.checkpoint`); ``settings`` are those of the class.

        Raises:
            SettingsError: when the folder is no checkpoint.
        """
        return cls(load_checkpoint(folder), **settings)

    def respond(
        self, raw: Sequence[Mapping[str, Any]], request_ids: Sequence[str], *, explained: Collection[int] = ()
    ) -> list[Response]:
        """Answer a batch as a server receives it: parse, predict, render.

        Args:
            raw: one mapping a request, as TorchServe gives it (:mod:`handler.request`); a KServe body may hold several
                (:mod:`handler.kserve.body`), which are answered together.
            request_ids: for the log, one a request.
            explained: the places of the requests that get an explanation, whether their options name it or not.

        Returns:
            One response a request, in order. An error of one request is that request's response and no other's.
        """
        return [response for response, _ in self.respond_measured(raw, request_ids, explained=explained)]

    def respond_measured(
        self,
        raw: Sequence[Mapping[str, Any]],
        request_ids: Sequence[str],
        *,
        explained: Collection[int] = (),
        streamable: Collection[int] = (),
    ) -> list[tuple[Response, Outcome]]:
        """Answer a batch as :meth:`respond` does, and say of each request what it cost.

        Args:
            raw: see :meth:`respond`.
            request_ids: see :meth:`respond`.
            explained: see :meth:`respond`.
            streamable: the places of the requests that may be answered piece by piece. Those of them that ask for it
                have a response with a rest, and what they cost grows while that is read; elsewhere the option
                ``stream`` is refused.
        """
        measures = [Measures() for _ in raw]
        items = [self._unfold(*each) for each in zip(raw, request_ids, measures, strict=True)]
        asked = [
            _Asked(
                raw=instance,
                num_instances=len(item.instances),
                request_id=request_id,
                explained=place in explained,
                streamable=place in streamable and item.protocol is None,
                measures=total if item.protocol is None else Measures(),
            )
            for place, (item, request_id, total) in enumerate(zip(items, request_ids, measures, strict=True))
            for instance in item.instances
        ]
        answered = zip(asked, self._respond(asked), strict=True)
        results: list[tuple[Response, Outcome]] = []
        name, version = self.description.name, self.description.version
        for item, request_id, total in zip(items, request_ids, measures, strict=True):
            parts = list(islice(answered, len(item.instances)))
            for part, _ in parts:
                if part.measures is not total:
                    total.add(part.measures)
            with measuring(total), stage("postprocess"):
                response = fold(item, [response for _, response in parts], name, version, self.limits)
            results.append((response, Outcome(request_id, name, version, response.code, response.status, total)))
        return results

    def predict(
        self,
        requests: Sequence[ActivityRequest | ActivityError],
        request_ids: Sequence[str] | None = None,
        measures: Sequence[Measures] | None = None,
    ) -> list[Prediction | ActivityError]:
        """Predict a batch.

        Args:
            requests: parsed requests; an error passes through.
            request_ids: for the log; by default the positions.
            measures: what each request costs is added to these.

        Returns:
            One prediction or error a request, in order.
        """
        ids = list(request_ids) if request_ids is not None else [str(i) for i in range(len(requests))]
        kept = measures if measures is not None else [None] * len(requests)
        decode = within_batch(self._decode, self.limits.max_batch_seconds)
        decoded = self.runtime.map(decode, list(zip(requests, ids, kept, strict=True)))
        return [self._score(*each) for each in zip(decoded, ids, kept, strict=True)]

    def _unfold(self, raw: Mapping[str, Any], request_id: str, measures: Measures) -> Unfolded:
        with measuring(measures), stage("receive"):
            unfolded = guarded(lambda: unfold(raw, self.limits, self.config.vectors), request_id)
        return Unfolded((unfolded,)) if isinstance(unfolded, ActivityError) else unfolded

    def _respond(self, asked: Sequence[_Asked]) -> list[Response]:
        requests: list[ActivityRequest | ActivityError] = []
        for each in asked:
            with measuring(each.measures), stage("receive"):
                requests.append(self._parse(each))
        streams = {
            place for place, it in enumerate(requests) if not isinstance(it, ActivityError) and it.options.stream
        }
        whole = [place for place in range(len(asked)) if place not in streams]
        predictions = self.predict(
            [requests[place] for place in whole],
            [asked[place].request_id for place in whole],
            [asked[place].measures for place in whole],
        )
        responses: dict[int, Response] = {}
        for place, prediction in zip(whole, predictions, strict=True):
            with measuring(asked[place].measures), stage("postprocess"):
                responses[place] = self._render(requests[place], prediction, asked[place].request_id)
        for place in sorted(streams):  # last, as the others can be sent before these are read any further
            responses[place] = self._begin_stream(requests[place], asked[place])
        return [responses[place] for place in range(len(asked))]

    def _begin_stream(self, request: ActivityRequest | ActivityError, asked: _Asked) -> Response:
        """The first line of an answer that is sent while its recording is read, and the rest of it."""
        if isinstance(request, ActivityError):
            return render_error(request)
        limits = self.limits.streamed()

        def lines() -> Generator[bytes, None, None]:
            _, options, open_pieces = self._prepare(request, limits)
            model = {"name": self.description.name, "version": self.description.version}
            yield from StreamedAnswer(model, self.scorer, options, open_pieces).lines()

        return respond_in_lines(lines(), asked.request_id, asked.measures)

    def _parse(self, asked: _Asked) -> ActivityRequest | ActivityError:
        raw = asked.raw
        if isinstance(raw, ActivityError):
            return raw

        def parse() -> ActivityRequest:
            request = parse_request(raw, self.limits, self.config.vectors)
            note_parts(request.parts)
            options = with_explanation(request.options) if asked.explained else request.options
            check_streamable(options, streamable=asked.streamable)
            return replace(request, options=options, num_instances=asked.num_instances)

        return guarded(parse, asked.request_id)

    def _render(
        self, request: ActivityRequest | ActivityError, prediction: Prediction | ActivityError, request_id: str
    ) -> Response:
        if isinstance(request, ActivityError):
            return render_error(request)
        if isinstance(prediction, ActivityError):
            return render_error(prediction)
        response = guarded(lambda: render_any(prediction, request.options.format), request_id)
        return render_error(response) if isinstance(response, ActivityError) else response

    def _decode(
        self, numbered: tuple[ActivityRequest | ActivityError, str, Measures | None]
    ) -> _Decoded | StreamedChunk | ActivityError:
        request, request_id, measures = numbered
        if isinstance(request, ActivityError):
            return request
        decode = self._decode_request if request.options.chunk is None else self.streams.decode
        with measuring(measures), stage("decode"):
            return guarded(lambda: decode(request), request_id)

    def _decode_request(self, request: ActivityRequest, *, whole: bool = False) -> _Decoded:
        """Decode a request; a recording of several pieces is scored as well, unless it is wanted ``whole``."""
        started = time.perf_counter()
        request, options, open_pieces = self._prepare(request, self.limits.shared_by(request.num_instances))
        explained = "explanation" in options.extras

        def read(pieces: Pieces) -> ReadClip:
            if explained:
                check_explained(pieces.schedule, self.limits)
            return read_clip(pieces, self.scorer, options.choice)

        hops_per_piece = sys.maxsize if whole else HOPS_PER_PIECE
        if explained:  # of a longer recording none is decoded before it is refused
            hops_per_piece = explainable_hops(self.config.windows, self.limits)
        found = decode_anew(partial(open_pieces, hops_per_piece=hops_per_piece), read)
        note_clip(found.clip)
        return _Decoded(options, found, time.perf_counter() - started - found.model_seconds, request)

    def _prepare(
        self, request: ActivityRequest, limits: Limits
    ) -> tuple[ActivityRequest, ResolvedOptions, Callable[..., Pieces]]:
        """What is decoded of a request, its options, and what opens it (:mod:`handler.recordings.pieces`)."""
        options = resolve_options(request.options, self.config)
        check_descriptions(request.options, self.config)
        check_state(request)
        request, transcribed = split_transcription(request, self.config)
        check_alone(request, transcribed=transcribed)
        hear = self.transcriber.hear if transcribed and self.transcriber is not None else None

        def open_pieces(failed: dict[Modality, ActivityError], *, hops_per_piece: int = HOPS_PER_PIECE) -> Pieces:
            return self.decoder.pieces(request, limits, hops_per_piece=hops_per_piece, transcribe=hear, failed=failed)

        return request, options, open_pieces

    def _score(
        self, decoded: _Decoded | StreamedChunk | ActivityError, request_id: str, measures: Measures | None
    ) -> Prediction | ActivityError:
        if isinstance(decoded, ActivityError):
            return decoded
        with measuring(measures), stage("postprocess"):
            return guarded(lambda: self._answer(decoded), request_id)

    def _answer(self, decoded: _Decoded | StreamedChunk) -> Prediction:
        if isinstance(decoded, StreamedChunk):
            return self.streams.answer(decoded)
        started = time.perf_counter()
        prediction = self._decide_and_explain(decoded)
        note_windows(decoded.clip.schedule.num_windows)
        if "descriptions" in decoded.options.extras and self.describer is not None:
            with stage("describe"):
                look = partial(self.decoder.pictures, decoded.request, limits=self.limits)
                segments = self.describer.describe(prediction.segments, look)
            prediction = replace(prediction, segments=segments)
        if "timing" not in decoded.options.extras:
            return prediction
        model_seconds = decoded.read.model_seconds + time.perf_counter() - started
        timing = {"decode_seconds": decoded.decode_seconds, "model_seconds": model_seconds}
        return replace(prediction, timing=timing)

    def _decide_and_explain(self, decoded: _Decoded) -> Prediction:
        clip, options = decoded.clip, decoded.options
        if "explanation" not in options.extras:
            return self.decide(clip, decoded.read.scored or self._score_clip(decoded), options)
        encoded = self.scorer.encode(clip)
        prediction = self.decide(clip, score_encoded(self.scorer, encoded, options), options)
        with stage("explain"):
            explanation = explain(self.scorer, encoded, options, prediction.segments)
        return replace(prediction, explanation=explanation)

    def _score_clip(self, decoded: _Decoded) -> ScoredWindows:
        if isinstance(self.scorer, ZeroShotScorer) and decoded.options.choice is not None:
            return self.scorer.score_labels(decoded.clip, decoded.options.choice)
        return self.scorer.score(decoded.clip)

    def examine(self, request: ActivityRequest) -> tuple[Clip, Prediction]:
        """Answer one request, and give what was decoded of it as well.

        Raises:
            ActivityError: what is wrong with the request.
        """
        decoded = self._decode_request(request, whole=True)
        return decoded.clip, self._answer(decoded)

    def decide(self, clip: Clip, scored: ScoredWindows, options: ResolvedOptions) -> Prediction:
        """Smooth the scores of a clip's windows and turn them into activities and segments.

        Args:
            clip: its schedule, statuses and transcript are used.
            scored: its windows; of their embeddings the mean is used.
            options: the request's.
        """
        config = self.config
        windows = clip.schedule.windows_every(options.stride_windows)
        scores = scored.scores[list(windows.indexes)]
        smoothed = ActivitySmoothing(options.smoothing_windows, options.lookahead_windows)(scores)
        segments = build_segments(
            smoothed,
            windows,
            options.labels,
            task=config.head.task,
            threshold=options.threshold,
            min_segment_seconds=options.min_segment_seconds,
            allowed=options.allowed,
        )
        activities = rank_activities(
            smoothed,
            windows,
            options.labels,
            task=config.head.task,
            top_k=options.top_k,
            allowed=options.allowed,
        )
        wants = options.extras
        return Prediction(
            model_name=self.description.name,
            model_version=self.description.version,
            schedule=clip.schedule,
            modalities=clip.modalities,
            activities=activities,
            segments=segments,
            windows=WindowScores(windows, options.labels, scores, smoothed) if "windows" in wants else None,
            embedding=scored.embeddings.mean(axis=0) if "embedding" in wants else None,
            transcript=clip.transcript if "transcript" in wants else None,
        )
