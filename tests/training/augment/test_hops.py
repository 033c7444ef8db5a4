"""Joining a run's hops and cutting them again."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from handler.clip import Waveform
from handler.decode import cut_samples
from handler.windows import Span, build_schedule
from models.config import WindowConfig
from models.encoder_config import AudioConfig
from training.augment.hops import cut_hops, join_hops, stretches

Sizes = st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 9), st.integers(0, 20))


@given(Sizes, st.integers(0, 99))
def test_cutting_what_was_joined_gives_the_hops_again(sizes: tuple[int, int, int, int], seed: int) -> None:
    """Also where a hop shares samples with more than the next one."""
    num_runs, num_hops, hop_samples, context = sizes
    generator = torch.Generator().manual_seed(seed)
    waveform = torch.randn(num_runs, num_hops * hop_samples + context, generator=generator)
    hops = cut_hops(waveform, hop_samples=hop_samples, context=context)
    masks = torch.rand(num_runs, num_hops, generator=generator) < 0.7
    assert join_hops(hops, torch.ones_like(masks), context=context).equal(waveform)
    broken = torch.where(masks[..., None], hops, torch.nan)
    joined = join_hops(broken, masks, context=context)
    assert joined.isfinite().all()
    assert cut_hops(joined, hop_samples=hop_samples, context=context)[masks].equal(hops[masks])


def test_the_hops_of_a_decoded_clip_are_joined_to_its_waveform() -> None:
    """The cut here is that of decode."""
    config = AudioConfig(sample_rate=1000, n_fft=40, hop_length=10)
    samples = np.random.default_rng(0).standard_normal(2000).astype(np.float32)
    schedule = build_schedule(Span(0.0, 2.0), WindowConfig(stride_seconds=0.25, hops=2))
    hops = torch.from_numpy(cut_samples(Waveform(samples, 1000, 0.0), schedule, config))[None]
    joined = join_hops(hops, torch.ones(1, hops.shape[1], dtype=torch.bool), context=30)
    assert joined[0, 15:-15].numpy().tolist() == samples.tolist()
    assert cut_hops(joined, hop_samples=250, context=30).equal(hops)


def test_stretches_say_where_the_hops_are() -> None:
    rows = [[1, 1, 1, 0], [0, 1, 1, 0], [1, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 1]]
    first, count, whole = stretches(torch.tensor(rows, dtype=torch.bool))
    assert first[whole].tolist() == [0, 1, 3]
    assert count.tolist() == [3, 2, 2, 0, 1]
    assert whole.tolist() == [True, True, False, False, True]
