"""KServe's gRPC service by its public name, as TorchServe's own takes it.

TorchServe gives the service another package, and drops ``raw_input_contents``, in which ``tritonclient`` sends its
inputs. Here a request's raw contents are put where TorchServe looks for them; all else goes through as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
from google.protobuf.message import DecodeError

from cli.ports import LOOPBACK
from client.grpc import build_channel
from client.protos.open_inference_pb2 import InferTensorContents, ModelInferRequest, ModelInferResponse

PUBLIC_SERVICE = "inference.GRPCInferenceService"
SERVERS_SERVICE = "org.pytorch.serve.grpc.openinference.GRPCInferenceService"
INFER = "ModelInfer"

MAX_CALLS = 64
"""Calls at a time; further ones wait."""
LENGTH_BYTES = 4
"""Each element of a raw tensor of BYTES comes after its length, little-endian."""
LONGEST_SECONDS = 86_400.0
FORWARDED = {"authorization"}


@contextmanager
def bridging(target: str) -> Iterator[int]:
    """Serve the public name on a free port of the loopback address while the block runs.

    Args:
        target: TorchServe's gRPC port for inference, ``HOST:PORT``.

    Yields:
        The port.
    """
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1), ("grpc.so_reuseport", 0)]
    with build_channel(target) as channel, ThreadPoolExecutor(MAX_CALLS, "kserve") as pool:
        server = grpc.server(pool, handlers=[_Service(channel)], options=options)
        port = server.add_insecure_port(f"{LOOPBACK}:0")
        server.start()
        try:
            yield port
        finally:
            server.stop(grace=None).wait()


def place_raw_contents(request: ModelInferRequest) -> bool:
    """Put the elements of ``raw_input_contents`` into the inputs that they belong to; without any, change nothing.

    Returns:
        Whether there were any: who sends them wants the answer in the same way.

    Raises:
        ValueError: when they are not as many as the inputs, of another type than BYTES, or cut off.
    """
    if not request.raw_input_contents:
        return False
    if len(request.raw_input_contents) != len(request.inputs):
        raise ValueError(
            f"there are {len(request.inputs)} inputs and {len(request.raw_input_contents)} raw_input_contents: "
            "each input has its own"
        )
    for tensor, raw in zip(request.inputs, request.raw_input_contents, strict=True):
        if tensor.datatype != "BYTES":
            raise ValueError(f"input {tensor.name!r} is {tensor.datatype}: send it as BYTES")
        tensor.contents.CopyFrom(InferTensorContents(bytes_contents=_elements(tensor.name, raw)))
    del request.raw_input_contents[:]
    return True


def make_raw_outputs(response: ModelInferResponse) -> None:
    """Put the outputs' elements into ``raw_output_contents``."""
    for tensor in response.outputs:
        elements = tensor.contents.bytes_contents
        response.raw_output_contents.append(
            b"".join(len(each).to_bytes(LENGTH_BYTES, "little") + each for each in elements)
        )
        tensor.ClearField("contents")


def _elements(name: str, raw: bytes) -> Iterator[bytes]:
    position = 0
    while position < len(raw):
        begin = position + LENGTH_BYTES
        position = begin + int.from_bytes(raw[position:begin], "little")
        if begin > len(raw) or position > len(raw):
            raise ValueError(f"the raw contents of input {name!r} end within an element")
        yield raw[begin:position]


class _Service(grpc.GenericRpcHandler):
    """Every method of the public service, as bytes."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        service, _, method = handler_call_details.method.removeprefix("/").partition("/")
        if service != PUBLIC_SERVICE:
            return None
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(f"/{SERVERS_SERVICE}/{method}")

        def answer(body: bytes, context: grpc.ServicerContext) -> bytes:
            raw = False
            try:
                if method == INFER:
                    body, raw = _translate(body)
                answered = call(body, timeout=_timeout(context), metadata=_metadata(context))
                return _translate_back(answered) if raw else answered
            except DecodeError:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the bytes are no ModelInferRequest")
            except ValueError as exc:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(exc))
            except grpc.RpcError as exc:
                context.abort(exc.code(), _without_names(exc.details() or ""))

        return grpc.unary_unary_rpc_method_handler(answer)


def _without_names(details: str) -> str:
    """TorchServe's words without the names of its classes: they stand on lines of their own, or in the words."""
    said = details.partition("\n")[0]
    return "the server does not take this call" if "org.pytorch" in said else said


def _translate(body: bytes) -> tuple[bytes, bool]:
    request = ModelInferRequest.FromString(body)
    raw = place_raw_contents(request)
    return request.SerializeToString(), raw


def _translate_back(body: bytes) -> bytes:
    response = ModelInferResponse.FromString(body)
    make_raw_outputs(response)
    return response.SerializeToString()


def _timeout(context: grpc.ServicerContext) -> float | None:
    left = context.time_remaining()
    return None if left is None or left > LONGEST_SECONDS else left  # without a deadline it is a huge number


def _metadata(context: grpc.ServicerContext) -> tuple[tuple[str, str | bytes], ...]:
    return tuple((key, value) for key, value in context.invocation_metadata() if key in FORWARDED)
