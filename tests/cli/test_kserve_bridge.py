from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.kserve_bridge import PUBLIC_SERVICE, SERVERS_SERVICE, bridging, make_raw_outputs, place_raw_contents
from client.protos.open_inference_pb2 import InferTensorContents, ModelInferRequest, ModelInferResponse

InferInput = ModelInferRequest.InferInputTensor


def raw_of(*elements: bytes) -> bytes:
    """As the public clients write a tensor of BYTES."""
    return b"".join(len(element).to_bytes(4, "little") + element for element in elements)


def request_of(*raw: bytes, datatype: str = "BYTES", inputs: int | None = None) -> ModelInferRequest:
    number = len(raw) if inputs is None else inputs
    tensors = [InferInput(name=f"input{i}", datatype=datatype, shape=[1]) for i in range(number)]
    return ModelInferRequest(model_name="activity", inputs=tensors, raw_input_contents=raw)


@given(st.lists(st.lists(st.binary(max_size=20), max_size=4), min_size=1, max_size=4))
def test_raw_contents_go_there_and_back(tensors: list[list[bytes]]) -> None:
    request = request_of(*(raw_of(*elements) for elements in tensors))
    assert place_raw_contents(request)
    assert [list(tensor.contents.bytes_contents) for tensor in request.inputs] == tensors
    assert not request.raw_input_contents
    outputs = [
        ModelInferResponse.InferOutputTensor(contents=InferTensorContents(bytes_contents=elements))
        for elements in tensors
    ]
    response = ModelInferResponse(outputs=outputs)
    make_raw_outputs(response)
    assert list(response.raw_output_contents) == [raw_of(*elements) for elements in tensors]
    assert not any(tensor.HasField("contents") for tensor in response.outputs)


def test_what_was_not_sent_raw_stays_as_it_is() -> None:
    tensor = InferInput(name="text", datatype="BYTES", contents=InferTensorContents(bytes_contents=[b"hi"]))
    request = ModelInferRequest(inputs=[tensor])
    before = request.SerializeToString()
    assert not place_raw_contents(request)
    assert request.SerializeToString() == before


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (request_of(raw_of(b"a"), inputs=2), "2 inputs and 1 raw_input_contents"),
        (request_of(b"1234", datatype="FP32"), "'input0' is FP32: send it as BYTES"),
        (request_of(raw_of(b"abc")[:-1]), "end within an element"),
        (request_of(b"\x00"), "end within an element"),
        (request_of(b"\xff\xff\xff\xff"), "end within an element"),
    ],
    ids=["too few", "numbers", "cut off", "cut within a length", "too long"],
)
def test_what_is_wrong_is_said(request_: ModelInferRequest, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        place_raw_contents(request_)


@contextmanager
def fake_server() -> Iterator[str]:
    """A server with TorchServe's name for the service: echoes inputs as outputs; asks for a key."""

    class Service(grpc.GenericRpcHandler):
        def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes] | None:
            if not handler_call_details.method.startswith(f"/{SERVERS_SERVICE}/"):
                return None

            def answer(body: bytes, context: grpc.ServicerContext) -> bytes:
                if ("authorization", "Bearer key") not in [tuple(item) for item in context.invocation_metadata()]:
                    context.abort(grpc.StatusCode.PERMISSION_DENIED, "no key")
                if not handler_call_details.method.endswith("/ModelInfer"):
                    return body[::-1]
                request = ModelInferRequest.FromString(body)
                outputs = [ModelInferResponse.InferOutputTensor(contents=each.contents) for each in request.inputs]
                return ModelInferResponse(id=request.id, outputs=outputs).SerializeToString()

            return grpc.unary_unary_rpc_method_handler(answer)

    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool, handlers=[Service()])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield f"127.0.0.1:{port}"
        server.stop(None).wait()


@pytest.fixture(scope="module")
def channel() -> Iterator[grpc.Channel]:
    with (
        fake_server() as target,
        bridging(target) as port,
        grpc.insecure_channel(f"127.0.0.1:{port}") as opened,
    ):
        yield opened


KEY = (("authorization", "Bearer key"),)


def method_of(channel: grpc.Channel, path: str) -> grpc.UnaryUnaryMultiCallable[bytes, bytes]:
    method: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path)
    return method


def test_the_public_name_leads_to_the_servers(channel: grpc.Channel) -> None:
    infer = method_of(channel, f"/{PUBLIC_SERVICE}/ModelInfer")
    raw = request_of(raw_of(b"a", b"bc"))
    raw.id = "7"
    for _ in range(2):
        response = ModelInferResponse.FromString(infer(raw.SerializeToString(), metadata=KEY, timeout=10))
        assert (response.id, list(response.raw_output_contents)) == ("7", [raw_of(b"a", b"bc")])
    plain = request_of(raw_of(b"a"))
    place_raw_contents(plain)
    response = ModelInferResponse.FromString(infer(plain.SerializeToString(), metadata=KEY))
    assert list(response.outputs[0].contents.bytes_contents) == [b"a"]
    assert not response.raw_output_contents
    assert method_of(channel, f"/{PUBLIC_SERVICE}/ServerLive")(b"abc", metadata=KEY) == b"cba"


@pytest.mark.parametrize(
    ("method", "body", "metadata", "code"),
    [
        ("ModelInfer", b"\xff\xff", KEY, grpc.StatusCode.INVALID_ARGUMENT),
        ("ModelInfer", request_of(b"\x00").SerializeToString(), KEY, grpc.StatusCode.INVALID_ARGUMENT),
        ("ModelInfer", b"", (), grpc.StatusCode.PERMISSION_DENIED),
    ],
    ids=["garbage", "cut off", "no key"],
)
def test_errors_reach_the_client(
    channel: grpc.Channel, method: str, body: bytes, metadata: tuple[tuple[str, str], ...], code: grpc.StatusCode
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        method_of(channel, f"/{PUBLIC_SERVICE}/{method}")(body, metadata=metadata)
    assert caught.value.code() is code


def test_other_services_are_not_reached(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        method_of(channel, "/org.pytorch.serve.grpc.management.ManagementAPIsService/ListModels")(b"", metadata=KEY)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
