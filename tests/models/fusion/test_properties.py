"""What every fusion has to keep, whatever it is made of."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from models.fusion.base import Fusion
from models.fusion.build import build_fusion
from tests.models.fusion.cases import CASES, HOPS, MODALITIES, TOKENS_PER_HOP, WIDTH, build, overwrite, windows

EXAMPLES = settings(deadline=None, max_examples=5)
every_case = pytest.mark.parametrize("case", CASES)
ORDERLESS = {"no positions"}
PADDED_AT_WILL = [case for case in CASES if case != "learned positions, stretched"]  # it stretches over the padding


@every_case
@EXAMPLES
@given(st.integers(0, 2**31), st.floats(0, 1), st.booleans(), st.sampled_from([1e6, float("nan"), float("-inf")]))
def test_what_is_masked_cannot_change_the_output(
    case: str, seed: int, kept: float, by_token: bool, value: float
) -> None:
    tokens, masks = windows(2, seed=seed, kept=kept, by_token=by_token)
    fusion = build(CASES[case])
    output, changed = fusion(tokens, masks), fusion(overwrite(tokens, masks, value), masks)
    assert torch.isfinite(output.fused).all()
    assert torch.equal(output.fused, changed.fused)
    assert all(torch.equal(output.embeddings[name], changed.embeddings[name]) for name in MODALITIES)


@every_case
def test_what_is_not_masked_does_change_the_output(case: str) -> None:
    """The property above is of the mask: without it the same change is seen, of a hop and of a single token."""
    tokens, masks = windows(2)
    fusion = build(CASES[case])
    before = fusion(tokens, masks).fused
    for name in MODALITIES:
        hidden = {other: torch.ones(2, HOPS, TOKENS_PER_HOP[other], dtype=torch.bool) for other in MODALITIES}
        hidden[name][:, 1, -1] = False
        changed = overwrite(tokens, hidden, 3.0)
        assert (fusion(changed, masks).fused - before).abs().amax(dim=1).min() > 1e-6, name
        assert (fusion(tokens, hidden).fused - before).abs().amax(dim=1).min() > 1e-6, name


@every_case
@EXAMPLES
@given(st.permutations(range(4)), st.integers(0, 2**31))
def test_permuting_the_batch_permutes_the_output(case: str, order: list[int], seed: int) -> None:
    tokens, masks = windows(4, seed=seed, kept=0.7)
    fusion = build(CASES[case])
    permuted = fusion({n: t[order] for n, t in tokens.items()}, {n: m[order] for n, m in masks.items()}).fused
    torch.testing.assert_close(permuted, fusion(tokens, masks).fused[order], atol=1e-12, rtol=0)


@every_case
def test_a_window_alone_gives_what_it_gives_in_a_batch(case: str) -> None:
    tokens, masks = windows(4, kept=0.7)
    fusion = build(CASES[case])
    together = fusion(tokens, masks).fused
    for index in range(4):
        one = slice(index, index + 1)
        alone = fusion({n: t[one] for n, t in tokens.items()}, {n: m[one] for n, m in masks.items()}).fused
        torch.testing.assert_close(together[one], alone, atol=1e-12, rtol=0)
    assert (together[1:] - together[:1]).abs().amax(dim=1).min() > 1e-3


@pytest.mark.parametrize("case", PADDED_AT_WILL)
@EXAMPLES
@given(st.integers(1, 9), st.integers(0, 2**31))
def test_padding_with_masked_hops_does_not_move_the_output(case: str, padding: int, seed: int) -> None:
    tokens, masks = windows(2, seed=seed, kept=0.8)
    fusion = build(CASES[case])
    more_tokens = {n: nn.functional.pad(t, (0, 0, 0, 0, 0, padding), value=7.0) for n, t in tokens.items()}
    more_masks = {n: nn.functional.pad(m, (0, padding), value=False) for n, m in masks.items()}
    padded = fusion(more_tokens, more_masks).fused
    torch.testing.assert_close(padded, fusion(tokens, masks).fused, atol=1e-12, rtol=0)


@every_case
def test_windows_without_anything_are_finite_and_so_are_the_gradients(case: str) -> None:
    tokens, masks = windows(3)
    for index, name in enumerate(MODALITIES):
        masks[name][0] = False  # nothing at all
        masks[name][1] = index == 1  # one modality
    tokens = {name: tensor.requires_grad_() for name, tensor in overwrite(tokens, masks, float("nan")).items()}
    fusion = build(CASES[case]).train()
    output = fusion(tokens, masks)
    (output.fused.square().sum() + sum(part.square().sum() for part in output.embeddings.values())).backward()
    assert torch.isfinite(output.fused).all()
    assert all(torch.isfinite(part).all() for part in output.embeddings.values())
    gradients = {name: weight.grad for name, weight in [*fusion.named_parameters(), *tokens.items()]}
    assert [name for name, gradient in gradients.items() if gradient is None] == []
    assert [name for name, gradient in gradients.items() if not torch.isfinite(gradient).all()] == []  # type: ignore[arg-type]


@every_case
def test_the_order_of_hops_matters_unless_there_are_no_positions(case: str) -> None:
    tokens, masks = windows(1)
    fusion = build(CASES[case])
    shuffled = {name: tensor[:, [2, 0, 3, 1]] for name, tensor in tokens.items()}
    change = (fusion(tokens, masks).fused - fusion(shuffled, masks).fused).abs().max()
    assert change < 1e-12 if case in ORDERLESS else change > 1e-4


@every_case
def test_no_two_layers_start_alike(case: str) -> None:
    torch.manual_seed(0)
    fusion = build_fusion(CASES[case], MODALITIES, width=WIDTH, dropout=0.0)
    drawn = [weight for weight in fusion.parameters() if weight.dim() > 1]
    assert len(drawn) > 3
    for index, one in enumerate(drawn):
        assert not [other for other in drawn[:index] if one.shape == other.shape and torch.equal(one, other)]


@every_case
def test_modalities_may_differ_in_length(case: str) -> None:
    fusion = build(CASES[case])
    lengths = {"video": (4, 2), "audio": (7, 3), "text": (1, 11)}
    tokens = {name: torch.randn(2, *shape, WIDTH, dtype=torch.float64) for name, shape in lengths.items()}
    masks = {name: torch.ones(2, shape[0], dtype=torch.bool) for name, shape in lengths.items()}
    output = fusion(tokens, masks).fused
    assert output.shape == (2, fusion.output_width)
    assert torch.isfinite(output).all()


@every_case
def test_one_modality_is_enough(case: str) -> None:
    config = CASES[case].model_copy(
        update={name: value for name, value in (("order", ()), ("main", None)) if hasattr(CASES[case], name)}
    )
    tokens, masks = windows(3, kept=0.5)
    masks["video"][0] = False
    fusion = build(config, modalities=("video",))
    output = fusion({"video": tokens["video"]}, {"video": masks["video"]})
    assert output.fused.shape == (3, WIDTH)
    assert torch.isfinite(output.fused).all()


@every_case
def test_its_work_can_be_counted(case: str) -> None:
    tokens, masks = windows(1)
    fusion = build(CASES[case])
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        fusion(tokens, masks)
    assert counter.get_total_flops() > 0


@pytest.mark.parametrize("case", [case for case in CASES if "position" not in case])
def test_it_learns_from_each_modality(case: str) -> None:
    """The label is in the audio for half of the windows and in the text for the other half, which lack the audio."""
    torch.manual_seed(0)
    fusion = build_fusion(CASES[case], MODALITIES, width=WIDTH, dropout=0.0)
    head = nn.Linear(fusion.output_width, 2)
    labels = torch.arange(16) % 2
    tokens, masks = windows(16)
    tokens = {name: tensor.float() * 0.3 for name, tensor in tokens.items()}
    masks["audio"][8:] = False
    for name in ("audio", "text"):
        tokens[name][..., 0] += labels[:, None, None] * 2.0 - 1.0
    masks["text"][:8] = False
    losses = _train(fusion, head, tokens, masks, labels)
    assert losses[-1] < 0.5 * losses[0]


def _train(
    fusion: Fusion, head: nn.Module, tokens: dict[str, Tensor], masks: dict[str, Tensor], labels: Tensor
) -> list[float]:
    optimizer = torch.optim.Adam([*fusion.parameters(), *head.parameters()], lr=1e-2)
    losses = []
    for _ in range(25):
        loss = nn.functional.cross_entropy(head(fusion(tokens, masks).fused), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
