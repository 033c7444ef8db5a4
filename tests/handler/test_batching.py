from __future__ import annotations

import threading

import pytest
import torch
from torch import Tensor

from handler import batching
from handler.batching import run_micro_batches
from handler.runtime import Runtime

CPU = torch.device("cpu")
FLOAT32 = Runtime(CPU, torch.float32, threads=1)


class Spy:
    """A forward that doubles and remembers what it was given."""

    def __init__(self) -> None:
        self.batches: list[tuple[Tensor, ...]] = []

    def __call__(self, *batch: Tensor) -> Tensor:
        self.batches.append(batch)
        return batch[0] * 2


@pytest.mark.parametrize(("num_items", "num_batches"), [(1, 1), (3, 1), (4, 1), (5, 2), (12, 3)])
def test_every_forward_has_the_same_shape_and_padding_is_cut_away(num_items: int, num_batches: int) -> None:
    spy = Spy()
    items = torch.arange(num_items * 2.0).reshape(num_items, 2)
    result = run_micro_batches(spy, [items], size=4, runtime=FLOAT32)
    assert torch.equal(result, items * 2)
    assert [batch[0].shape for batch in spy.batches] == [(4, 2)] * num_batches


def test_padding_repeats_the_last_item() -> None:
    spy = Spy()
    run_micro_batches(spy, [torch.tensor([1.0, 7.0]), torch.tensor([True, False])], size=4, runtime=FLOAT32)
    assert spy.batches[0][0].tolist() == [1.0, 7.0, 7.0, 7.0]
    assert spy.batches[0][1].tolist() == [True, False, False, False]


def test_what_pads_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(16, 2, 32, batch_first=True).eval()
    items = torch.randn(5, 3, 16)
    honest = run_micro_batches(layer, [items], size=4, runtime=FLOAT32)

    def with_noise(batch: Tensor, size: int) -> Tensor:
        return torch.cat((batch, 9 * torch.randn(size - batch.shape[0], *batch.shape[1:])))

    monkeypatch.setattr(batching, "_padded", with_noise)
    assert torch.equal(run_micro_batches(layer, [items], size=4, runtime=FLOAT32), honest)


def test_a_transform_runs_before_autocast_and_the_forward_inside_it() -> None:
    seen: dict[str, bool] = {}

    def transform(batch: Tensor) -> tuple[Tensor]:
        seen["transform"] = torch.is_autocast_enabled("cpu")
        return (batch + 1,)

    def forward(batch: Tensor) -> Tensor:
        seen["forward"] = torch.is_autocast_enabled("cpu")
        assert torch.is_inference_mode_enabled()
        return (batch[:, None] @ batch[:, None].T)[:, :1]

    runtime = Runtime(CPU, torch.bfloat16, threads=1)
    result = run_micro_batches(forward, [torch.zeros(3)], size=2, runtime=runtime, transform=transform)
    assert seen == {"transform": False, "forward": True}
    assert result.dtype == torch.float32
    assert result.tolist() == [[1.0]] * 3


def test_results_stand_in_order_whichever_micro_batch_ends_first() -> None:
    second_is_done = threading.Event()

    def forward(batch: Tensor) -> Tensor:
        if batch[0] == 0:
            assert second_is_done.wait(timeout=60)
        else:
            second_is_done.set()
        return batch

    runtime = Runtime(CPU, torch.float32, threads=2)
    assert run_micro_batches(forward, [torch.arange(4.0)], size=2, runtime=runtime).tolist() == [0, 1, 2, 3]


def test_the_fault_of_one_micro_batch_is_raised() -> None:
    def forward(batch: Tensor) -> Tensor:
        if batch[0] == 2:
            raise ArithmeticError("no")
        return batch

    with pytest.raises(ArithmeticError):
        run_micro_batches(forward, [torch.arange(4.0)], size=2, runtime=Runtime(CPU, torch.float32, threads=2))


@pytest.mark.parametrize("threads", [1, 3])
def test_each_micro_batch_is_reported_once(threads: int) -> None:
    told: list[tuple[int, int]] = []
    runtime = Runtime(CPU, torch.float32, threads=threads)
    run_micro_batches(Spy(), [torch.ones(9)], size=2, runtime=runtime, report=lambda *it: told.append(it))
    assert sorted(told) == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]
