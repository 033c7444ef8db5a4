from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from models.pretrained.config import PretrainedConfig
from models.zero_shot import Probes, WindowMeans, average_templates, mean_of_hops, mean_of_scores, score_labels
from models.zero_shot_config import SpaceConfig, ZeroShotConfig

TOWER = PretrainedConfig(source="x", output="embedding")
BOTH = ZeroShotConfig(
    spaces={"one": SpaceConfig(modalities=("video", "audio"), text=TOWER)},
    weights={"audio": 3.0},
    probes=("video", "audio"),
)
WIDTHS = {"video": 3, "audio": 2}


class Tower:
    """What is needed of a text tower to compare."""

    def __init__(self, scoring: str, scale: float, bias: float = 0.0) -> None:
        self.scoring = scoring
        self.scale, self.bias = torch.tensor(scale), torch.tensor(bias)


def test_a_window_is_the_mean_of_the_hops_that_it_has() -> None:
    tokens = torch.tensor([[[[3.0, 0.0]], [[0.0, 1.0]], [[math.nan, math.inf]]]])
    mask = torch.tensor([[True, True, False]])
    torch.testing.assert_close(mean_of_hops(tokens, mask), torch.tensor([[3.0, 1.0]]) / math.sqrt(10))
    assert mean_of_hops(tokens, torch.zeros(1, 3, dtype=torch.bool)).tolist() == [[0.0, 0.0]]


def test_frames_of_a_hop_count_together_as_one_hop() -> None:
    many, one = torch.tensor([[[[1.0, 0.0], [1.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]]]]), torch.tensor([[True, True]])
    torch.testing.assert_close(mean_of_hops(many, one), torch.full((1, 2), math.sqrt(0.5)))


def test_embeddings_stand_side_by_side() -> None:
    tokens = {"video": torch.randn(2, 4, 1, 3), "audio": torch.randn(2, 4, 1, 2)}
    masks = {name: torch.ones(2, 4, dtype=torch.bool) for name in tokens}
    output = WindowMeans(WIDTHS)(tokens, masks)
    assert output.fused.shape == (2, 5)
    torch.testing.assert_close(output.fused[:, 3:], output.embeddings["audio"])


def test_scores_are_averaged_over_what_is_there() -> None:
    scores = {"video": torch.tensor([[1.0, 0.0]] * 3), "audio": torch.tensor([[0.0, 1.0]] * 3)}
    present = {"video": torch.tensor([True, True, False]), "audio": torch.tensor([True, False, False])}
    mean = mean_of_scores(scores, present, {"video": 1.0, "audio": 3.0})
    assert mean.tolist() == [[0.25, 0.75], [1.0, 0.0], [0.0, 0.0]]


def test_a_label_is_the_mean_of_its_sentences() -> None:
    sentences = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [1.0, 0.0]]])
    torch.testing.assert_close(average_templates(sentences), torch.tensor([[math.sqrt(0.5)] * 2, [1.0, 0.0]]))


@pytest.mark.parametrize(
    ("tower", "expected"),
    [
        (Tower("softmax", 10.0), torch.tensor([[8.0, 6.0]]).softmax(dim=-1)),
        (Tower("sigmoid", 10.0, -5.0), torch.tensor([[3.0, 1.0]]).sigmoid()),
    ],
)
def test_cosines_are_compared_as_in_training(tower: Tower, expected: Tensor) -> None:
    windows, labels = torch.tensor([[0.8, 0.6]]), torch.eye(2)
    scores = score_labels(windows, labels, tower)  # type: ignore[arg-type]  # of a tower it needs no more
    assert scores.dtype == torch.float64
    torch.testing.assert_close(scores, expected.double())
    with_none = score_labels(windows, labels, tower, none_threshold=0.7)  # type: ignore[arg-type]
    assert with_none.argsort(descending=True).tolist() == [[0, 2, 1]]
    flat = score_labels(windows, labels, tower, temperature=1e6)  # type: ignore[arg-type]
    torch.testing.assert_close(flat, torch.full((1, 2), 0.5).double(), atol=1e-4, rtol=0.0)


def test_probes_give_the_mean_of_their_scores() -> None:
    probes = Probes(WIDTHS, BOTH, 2)
    fused = torch.tensor([[1.0, 0, 0, 0, 1], [1.0, 0, 0, 0, 0], [0.0, 0, 0, 0, 0]])
    seen = probes["video"](fused[:, :3]).softmax(dim=-1)
    heard = probes["audio"](fused[:, 3:]).softmax(dim=-1)
    scores = probes(fused).softmax(dim=-1)
    torch.testing.assert_close(scores[0], (seen[0] + 3 * heard[0]) / 4)
    torch.testing.assert_close(scores[1], seen[1])
    torch.testing.assert_close(scores[2], torch.full((2,), 0.5))
    assert torch.isfinite(probes(fused)).all()


def test_without_probes_there_are_no_labels() -> None:
    assert Probes(WIDTHS, BOTH.model_copy(update={"probes": ()}), 3)(torch.randn(4, 5)).shape == (4, 0)
