from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor import Descriptor

from client.protos import inference_pb2, management_pb2, open_inference_pb2

PROJECT = Path(__file__).parents[2]
INFERENCE = "org.pytorch.serve.grpc.inference"
MANAGEMENT = "org.pytorch.serve.grpc.management"
OPEN_INFERENCE = "org.pytorch.serve.grpc.openinference"


def test_generating_again_gives_the_same_files(tmp_path: Path) -> None:
    script = PROJECT / "scripts" / "generate_protos.sh"
    subprocess.run(["bash", script, tmp_path], check=True, env={"PYTHON": sys.executable, "PATH": "/usr/bin:/bin"})
    generated = sorted(path.name for path in (tmp_path / "client" / "protos").iterdir())
    assert generated == [
        f"{name}_pb2{ending}"
        for name in ("inference", "management", "open_inference")
        for ending in (".py", ".pyi", "_grpc.py")
    ]
    for name in generated:
        assert (tmp_path / "client" / "protos" / name).read_text() == (PROJECT / "client" / "protos" / name).read_text()


@pytest.mark.parametrize(
    ("message", "numbers"),
    [
        (
            inference_pb2.PredictionsRequest.DESCRIPTOR,
            {"model_name": 1, "model_version": 2, "input": 3, "sequence_id": 4},
        ),
        (inference_pb2.PredictionResponse.DESCRIPTOR, {"prediction": 1, "sequence_id": 2, "status": 3}),
        (inference_pb2.TorchServeHealthResponse.DESCRIPTOR, {"health": 1}),
        (
            management_pb2.DescribeModelRequest.DESCRIPTOR,
            {"model_name": 1, "model_version": 2, "customized": 3},
        ),
        (management_pb2.ListModelsRequest.DESCRIPTOR, {"limit": 1, "next_page_token": 2}),
        (
            management_pb2.RegisterModelRequest.DESCRIPTOR,
            {
                "batch_size": 1,
                "handler": 2,
                "initial_workers": 3,
                "max_batch_delay": 4,
                "model_name": 5,
                "response_timeout": 6,
                "runtime": 7,
                "synchronous": 8,
                "url": 9,
                "s3_sse_kms": 10,
                "startup_timeout": 11,
            },
        ),
        (
            management_pb2.ScaleWorkerRequest.DESCRIPTOR,
            {
                "model_name": 1,
                "model_version": 2,
                "max_worker": 3,
                "min_worker": 4,
                "number_gpu": 5,
                "synchronous": 6,
                "timeout": 7,
            },
        ),
        (management_pb2.ManagementResponse.DESCRIPTOR, {"msg": 1}),
        (
            open_inference_pb2.ModelInferRequest.DESCRIPTOR,
            {"model_name": 1, "model_version": 2, "id": 3, "inputs": 5, "raw_input_contents": 7},
        ),
        (
            open_inference_pb2.ModelInferRequest.InferInputTensor.DESCRIPTOR,
            {"name": 1, "datatype": 2, "shape": 3, "contents": 5},
        ),
        (
            open_inference_pb2.ModelInferResponse.DESCRIPTOR,
            {"model_name": 1, "model_version": 2, "id": 3, "outputs": 5, "raw_output_contents": 6},
        ),
        (open_inference_pb2.InferTensorContents.DESCRIPTOR, {"bytes_contents": 8}),
    ],
)
def test_field_numbers_are_the_servers(message: Descriptor, numbers: dict[str, int]) -> None:
    assert {field.name: field.number for field in message.fields} == numbers


def test_packages_and_methods_are_the_servers() -> None:
    inference = inference_pb2.DESCRIPTOR.services_by_name["InferenceAPIsService"]
    management = management_pb2.DESCRIPTOR.services_by_name["ManagementAPIsService"]
    assert inference.full_name == f"{INFERENCE}.InferenceAPIsService"
    assert management.full_name == f"{MANAGEMENT}.ManagementAPIsService"
    open_inference = open_inference_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    assert open_inference.full_name == f"{OPEN_INFERENCE}.GRPCInferenceService"
    assert [method.name for method in inference.methods] == ["Ping", "Predictions", "StreamPredictions"]
    assert [method.name for method in management.methods] == [
        "DescribeModel",
        "ListModels",
        "RegisterModel",
        "ScaleWorker",
        "SetDefault",
        "UnregisterModel",
    ]


def test_a_status_of_google_rpc_is_read() -> None:
    # Field 3 of a response, as google.rpc.Status writes it: code 7, message "no".
    wire = b"\x0a\x02{}\x1a\x06\x08\x07\x12\x02no"
    response = inference_pb2.PredictionResponse.FromString(wire)
    assert (response.prediction, response.status.code, response.status.message) == (b"{}", 7, "no")
