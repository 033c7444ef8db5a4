from __future__ import annotations

import os

import pytest
import torch

from handler.runtime import Runtime, choose_runtime


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACTIVITY_THREADS", raising=False)
    monkeypatch.delenv("ACTIVITY_WORKERS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)))


@pytest.mark.parametrize(
    ("capabilities", "dtype"),
    [
        ({"amx_bf16": True, "avx512_bf16": False}, torch.bfloat16),
        ({"avx512_bf16": True}, torch.bfloat16),
        ({"amx_bf16": False, "avx512_bf16": False, "avx512_f": True, "avx2": True}, torch.float32),
        ({}, torch.float32),
    ],
)
def test_the_cpu_computes_in_bfloat16_only_with_instructions_for_it(
    capabilities: dict[str, bool], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    runtime = choose_runtime()
    assert (runtime.device, runtime.dtype) == (torch.device("cpu"), dtype)


@pytest.mark.parametrize(("has_bfloat16", "dtype"), [(True, torch.bfloat16), (False, torch.float16)])
def test_a_card_computes_in_the_half_precision_that_it_has(
    has_bfloat16: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: has_bfloat16)
    assert choose_runtime(1) == Runtime(torch.device("cuda", 1), dtype, threads=1)
    assert choose_runtime(None).device.type == "cpu"


def test_an_assigned_card_that_is_not_there_means_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_runtime(0).device == torch.device("cpu")


@pytest.mark.parametrize(
    ("variables", "threads"),
    [
        ({}, 6),
        ({"ACTIVITY_WORKERS": "2"}, 3),
        ({"ACTIVITY_WORKERS": "4"}, 1),
        ({"ACTIVITY_WORKERS": "9"}, 1),
        ({"ACTIVITY_WORKERS": "0"}, 6),
        ({"ACTIVITY_WORKERS": "two"}, 6),
        ({"ACTIVITY_THREADS": "4", "ACTIVITY_WORKERS": "2"}, 4),
        ({"ACTIVITY_THREADS": "0"}, 6),
        ({"ACTIVITY_THREADS": "", "ACTIVITY_WORKERS": "3"}, 2),
    ],
)
def test_threads_come_from_the_variables_and_the_cores(
    variables: dict[str, str], threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert choose_runtime().threads == threads
    assert choose_runtime(threads=5).threads == 5


def test_an_operation_of_torch_keeps_to_one_thread() -> None:
    torch.set_num_threads(2)
    runtime = choose_runtime(threads=2)
    assert runtime.map(lambda _: torch.get_num_threads(), [0, 1, 2]) == [1, 1, 1]
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_map_keeps_the_order(threads: int) -> None:
    runtime = Runtime(torch.device("cpu"), torch.float32, threads=threads)
    assert runtime.map(lambda item: item * item, list(range(20))) == [item * item for item in range(20)]
    assert runtime.map(lambda item: item, list[int]()) == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_forward_context_is_inference_with_autocast_where_it_helps(dtype: torch.dtype) -> None:
    with Runtime(torch.device("cpu"), dtype, threads=1).forward_context():
        assert torch.is_inference_mode_enabled()
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype
    assert not torch.is_inference_mode_enabled()
