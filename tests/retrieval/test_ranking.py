"""Evidence from cosines, added over modalities, and overlapping spans merged to the best: by hand and by properties."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from retrieval.ranking import Span, background_of, combine, suppress


def test_evidence_is_how_much_more_likely_a_window_is_than_windows_in_general() -> None:
    cosines = np.array([[0.1, 0.3, 0.5]])
    background = background_of(cosines, 4.0)
    everything = np.concatenate((cosines[0], np.zeros(32)))
    expected = np.exp(4 * cosines) / np.exp(4 * everything).mean()
    np.testing.assert_allclose(np.exp(background.evidence(cosines)), expected, atol=1e-12)
    assert np.isfinite(background_of(cosines, 1e4).evidence(cosines)).all()


def test_a_few_windows_that_are_all_alike_are_still_evidence() -> None:
    few, many = (background_of(np.full((1, count), 0.9), 20.0) for count in (2, 100_000))
    assert few.evidence(np.array([[0.9]]))[0, 0] > 2.5
    assert abs(many.evidence(np.array([[0.9]]))[0, 0]) < 0.01


def test_evidence_is_added_over_what_a_window_has() -> None:
    evidence = np.array([[2.0, 3.0, np.nan, np.nan], [1.0, np.nan, -3.0, np.nan]])
    assert combine(evidence).tolist() == [3.0, 3.0, -3.0, -np.inf]


def test_of_overlapping_spans_the_best_is_kept() -> None:
    spans = [
        Span("a", 0.0, 2.0, 1.0),
        Span("a", 0.5, 2.5, 3.0),
        Span("a", 2.5, 4.5, 2.0),
        Span("b", 0.5, 2.5, 2.5),
        Span("a", 1.0, 3.0, 2.9),
    ]
    assert suppress(spans, 10) == [1, 3, 2]
    assert suppress(spans, 2) == [1, 3]
    assert suppress([], 3) == []


SPANS = st.lists(
    st.builds(
        lambda file, start, length, score: Span(file, float(start), float(start + length), float(score)),
        st.sampled_from("ab"),
        st.integers(0, 20),
        st.integers(1, 6),
        st.integers(-3, 3),
    ),
    max_size=25,
)


@given(SPANS, st.integers(1, 30))
def test_what_is_kept_does_not_overlap_and_what_is_dropped_is_beaten(spans: list[Span], limit: int) -> None:
    kept = suppress(spans, limit)
    chosen = [spans[place] for place in kept]
    assert len(set(kept)) == len(kept) <= limit
    assert [it.score for it in chosen] == sorted((it.score for it in chosen), reverse=True)
    assert not any(one.overlaps(other) for i, one in enumerate(chosen) for other in chosen[:i])
    if len(kept) < limit:
        dropped = [spans[place] for place in range(len(spans)) if place not in kept]
        assert all(any(it.overlaps(best) and best.score >= it.score for best in chosen) for it in dropped)
    assert suppress(spans, limit + 5)[:limit] == kept


@given(SPANS, st.randoms())
def test_the_order_of_the_spans_does_not_matter(spans: list[Span], random: object) -> None:
    shuffled = list(spans)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # it is hypothesis's random.Random
    assert [shuffled[place] for place in suppress(shuffled, 5)] == [spans[place] for place in suppress(spans, 5)]
