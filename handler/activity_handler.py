"""The archive's entry: TorchServe's handler. It only wires the server to :mod:`handler.pipeline`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ts.context import Context
from ts.metrics.metric_type_enum import MetricTypes
from ts.protocol.otf_message_handler import create_predict_response
from ts.torch_handler.base_handler import BaseHandler

from handler import limits, log_lines, measures, pipeline, received, request, response, runtime
from handler.cage import decoder as cage
from handler.recordings import delivery
from handler.stream import token as stream_token

logger = logging.getLogger(__name__)

REST_HEADER = "explain"
"""The server adds it to every prediction that is asked for by REST, whatever the client's own headers are."""
EXPLAINED = "True"
"""What the header says of a request to ``/explanations``; it holds for that request alone, never for its batch."""


class ActivityHandler(BaseHandler):  # type: ignore[misc]  # ts ships no types
    """Bytes of video, sound and words in; timed activity labels out.

    ``handle`` is overridden whole: the base class's would let a client switch a whole batch to another mode through a
    header, and its loading unpickles.
    """

    lost_measures = False
    """Whether the server did not take what was measured, which is logged once."""

    def initialize(self, context: Context) -> None:
        """Load the checkpoint that the archive carries.

        Args:
            context: TorchServe's; ``gpu_id`` chooses the device, model-config.yaml's section ``handler`` the limits.

        Raises:
            SettingsError: the section has a key or a value that it cannot have, or the archive holds no checkpoint.
        """
        log_lines.indent_records()
        properties, section = context.system_properties, (context.model_yaml_config or {}).get("handler") or {}
        settings = limits.HandlerSettings.read(section, source="model-config.yaml, handler")
        folder, chosen = Path(properties["model_dir"]), runtime.choose_runtime(properties.get("gpu_id"))
        self.pipeline = pipeline.ActivityPipeline.from_checkpoint(
            folder,
            runtime=chosen,
            limits=settings.limits,
            stream_key=stream_token.load_stream_key(folder),
            decoder=cage.build_decoder(folder, settings, chosen.threads),  # starts while the weights are loaded
        )
        logger.info("ready: %s", self.pipeline.runtime)
        description = self.pipeline.description
        self._tell([], lambda: measures.starting_samples(description.name, description.version), context)
        self.initialized = True

    def handle(self, data: Sequence[Mapping[str, Any]], context: Context) -> list[bytes]:
        """Answer a batch.

        Args:
            data: one mapping a request (:mod:`handler.request` says which forms it takes).
            context: takes each request's status and content type.

        Returns:
            One body a request, in order.
        """
        request_ids = [context.get_request_id(index) or str(index) for index in range(len(data))]
        items = [self._marked(item, context, index) for index, item in enumerate(data)]
        asked = [context.get_request_header(index, REST_HEADER) for index in range(len(data))]
        measured = self.pipeline.respond_measured(
            items,
            request_ids,
            explained=[index for index, value in enumerate(asked) if value == EXPLAINED],
            streamable=[index for index, value in enumerate(asked) if value is not None],
        )
        responses = [each for each, _ in measured]
        for index, each in enumerate(responses):
            context.set_response_content_type(index, each.content_type)
            if each.status != 200:
                context.set_response_status(each.status, each.phrase, index)
        fill = len(data) / int(context.system_properties.get("batch_size") or 1)
        whole = [outcome for each, outcome in measured if each.rest is None]
        self._tell(whole, lambda: measures.samples(whole, fill), context)
        if len(whole) == len(measured):
            return [each.body for each in responses]
        delivered = self._deliver(responses, context)
        streamed = [replace(measured[index][1], code=code) for index, code in delivered.codes.items()]
        self._tell(streamed, lambda: measures.samples(streamed, None if whole else fill), context)
        return [delivered.last.get(index, b"") for index in range(len(data))]

    @staticmethod
    def _deliver(responses: Sequence[response.Response], context: Context) -> delivery.Delivered:
        """Send what the server's own last message does not have.

        The server ends a batch with the first message in which no answer goes on, and answers a request again whenever
        a message names it: so each message but the last has one that goes on, and a request that is done is named no
        more, for which it goes from the map that the last message is made of.
        """
        streams = {index for index, each in enumerate(responses) if each.rest is not None}

        def send(bodies: Mapping[int, bytes], going: Collection[int]) -> None:
            ends = {index: index not in going if index in streams else None for index in bodies}
            context.stopping_criteria = {index: lambda _, end=end: end for index, end in ends.items()}
            ids = {index: context.request_ids[index] for index in bodies}
            context.cl_socket.sendall(create_predict_response(bodies, ids, "", 200, context))
            for index in bodies.keys() - going:
                del context.request_ids[index]

        try:
            return delivery.deliver(responses, send)
        finally:
            context.stopping_criteria = None

    def _tell(
        self,
        outcomes: Sequence[measures.Outcome],
        make_samples: Callable[[], Sequence[measures.Sample]],
        context: Context,
    ) -> None:
        """Hand on what was measured. Whatever goes wrong with that, the requests are answered."""
        try:
            for outcome in outcomes:
                logger.info("%s", outcome.log_line())
            if context.metrics is None:
                return
            for sample in make_samples():
                series = context.metrics.get_metric(sample.name, MetricTypes(sample.kind))
                series.add_or_update(sample.value, list(sample.labels))
        except Exception:
            if not self.lost_measures:  # once: with a metrics file of somebody's own every batch would say it
                logger.exception("measures are lost; config/metrics.yaml declares them")
            self.lost_measures = True

    @staticmethod
    def _marked(item: Mapping[str, Any], context: Context, index: int) -> Mapping[str, Any]:
        """A body as its content type says; what came by gRPC has not REST's header."""
        part = context.get_request_header(index, request.BODY)  # unless the client has a header of this name
        content_type = part.get("content-type") if isinstance(part, Mapping) else None
        is_rest = context.get_request_header(index, REST_HEADER) is not None
        return received.read_body(item, content_type or "", is_rest=is_rest)
