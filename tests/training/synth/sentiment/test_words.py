"""Sentences carry one expression, and all else is alike for the three sentiments."""

from __future__ import annotations

from collections import Counter

import numpy as np

from training.synth.sentiment.words import EXPRESSIONS, draw_sentence


def test_a_sentence_carries_one_expression_of_its_view() -> None:
    longest_first = sorted((key, view) for view, keys in enumerate(EXPRESSIONS) for key in keys)
    longest_first.sort(key=lambda pair: -len(pair[0]))
    assert len({len(keys) for keys in EXPRESSIONS}) == 1
    for view in range(3):
        seen: Counter[str] = Counter()
        for seed in range(200):
            sentence = draw_sentence(np.random.default_rng([seed, view]), view)
            key, meant = next(pair for pair in longest_first if pair[0] in sentence)
            assert meant == view
            seen[key] += 1
        assert set(seen) == set(EXPRESSIONS[view])


def test_only_the_expression_depends_on_the_view() -> None:
    """The same draws pick the same template, thing, time and person, and the expression of the same place."""
    for seed in range(50):
        sentences = [draw_sentence(np.random.default_rng(seed), view) for view in range(3)]
        shells = [
            {sentence.replace(key, "*") for key in keys} for sentence, keys in zip(sentences, EXPRESSIONS, strict=True)
        ]
        common = set.intersection(*shells)
        assert len(common) == 1
        assert "*" in common.pop()
