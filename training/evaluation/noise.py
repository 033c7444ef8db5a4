"""White noise on a clip's sound, at a stated ratio of signal to noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from handler.clip import Clip


def add_noise(clip: Clip, snr_db: float, *, hop_samples: int, seed: int) -> Clip:
    """The clip with white Gaussian noise added to its sound.

    The noise is one waveform, cut into hops as the sound is: where two hops share samples, they share the noise too.
    The same seed gives the same noise at every ratio, but for its size.

    Args:
        clip: a clip with sound.
        snr_db: ``10 log10`` of the sound's mean power, over the hops that have sound, to the noise's.
        hop_samples: samples from one hop to the next.
        seed: of the noise.

    Returns:
        The clip; as it was where its sound is silent, since no noise has a ratio to silence.

    Raises:
        ValueError: when the clip has no sound.
    """
    if clip.samples is None or "audio" not in clip.masks:
        raise ValueError("only a clip with sound can be given noise")
    num_hops, length = clip.samples.shape
    power = float(np.mean(np.square(clip.samples[clip.masks["audio"]], dtype=np.float64)))
    waveform = np.random.default_rng(seed).standard_normal((num_hops - 1) * hop_samples + length, dtype=np.float32)
    noise = np.lib.stride_tricks.sliding_window_view(waveform, length)[::hop_samples]
    scale = np.float32(np.sqrt(power / 10 ** (snr_db / 10)))
    return replace(clip, samples=(clip.samples + scale * noise).astype(np.float32))
