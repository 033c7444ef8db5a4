"""Each different content is encoded once, and every hop gets its own back."""

from __future__ import annotations

import torch

from models.tokenizer import PADDING_ID
from training.encoding import cut_windows, distinct_contents


def test_a_picture_counts_once_a_run() -> None:
    torch.manual_seed(0)
    pictures = torch.randint(0, 256, (3, 1, 3, 4, 4), dtype=torch.uint8).expand(3, 5, 3, 4, 4)
    (contents,), places = distinct_contents("image", (pictures,))
    assert contents.shape == (3, 3, 4, 4)
    assert places is not None
    assert torch.equal(contents[places], pictures)
    changed = pictures.clone()
    changed[1, 3, 0, 0, 0] += 1
    (contents,), places = distinct_contents("image", (changed,))
    assert places is None
    assert torch.equal(contents, changed.flatten(0, 1))


def test_a_missing_number_is_the_same_on_every_hop() -> None:
    numbers = torch.tensor([[1.0, float("nan")], [2.0, 3.0]])[:, None].expand(2, 4, 2)
    categories = torch.tensor([[1], [0]])[:, None].expand(2, 4, 1)
    contents, places = distinct_contents("tabular", (numbers, categories))
    assert [tensor.shape for tensor in contents] == [(2, 2), (2, 1)]
    assert places is not None
    assert places.tolist() == [[0] * 4, [1] * 4]


def test_each_text_counts_once_and_padding_is_cut_off() -> None:
    token_ids = torch.tensor([[[5, 6, 0, 0], [5, 6, 0, 0]], [[7, 0, 0, 0], [5, 6, 0, 0]]])
    token_mask = token_ids != PADDING_ID
    (ids, mask), places = distinct_contents("text", (token_ids, token_mask))
    assert ids.tolist() == [[5, 6], [7, 0]]
    assert mask.tolist() == [[True, True], [True, False]]
    assert places is not None
    assert places.tolist() == [[0, 0], [1, 0]]


def test_the_first_word_of_anothers_vocabulary_is_no_padding() -> None:
    token_ids = torch.tensor([[[0, 6, 9, 9], [0, 9, 9, 9]]])
    token_mask = torch.tensor([[[True, True, False, False], [True, False, False, False]]])
    (ids, mask), places = distinct_contents("text", (token_ids, token_mask))
    assert places is not None
    assert places.tolist() == [[1, 0]]
    assert mask.tolist() == [[True, False], [True, True]]
    assert ids[mask].tolist() == [0, 0, 6]


def test_windows_are_cut_run_by_run() -> None:
    hops = torch.arange(10).view(2, 5)
    assert cut_windows(hops, 3, 3).tolist() == [[0, 1, 2], [1, 2, 3], [2, 3, 4], [5, 6, 7], [6, 7, 8], [7, 8, 9]]
