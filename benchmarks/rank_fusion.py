"""How the cosines of several modalities are best made one ranking.

    python -m benchmarks.rank_fusion runs/towers --data runs/moments-held/manifest.jsonl

Sentences are looked for among windows by all their modalities together, with each way to join these: recall at 1, 5 and
10 with the interval of a bootstrap over clips.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from handler.embedding import Embedder
from models.checkpoint import load_checkpoint
from retrieval.ranking import combine
from training.evaluate import decode_some, read_split
from training.evaluation import recall

RRF_OFFSET = 60
"""Of reciprocal rank fusion (Cormack, Clarke and Buettcher, SIGIR 2009)."""


def reciprocal_ranks(evidence: NDArray[np.float64]) -> NDArray[np.float64]:
    """The sum over the modalities of 1 / (60 + rank)."""
    order = np.argsort(np.argsort(-np.nan_to_num(evidence, nan=-np.inf), axis=1, kind="stable"), axis=1)
    return np.asarray(np.where(np.isnan(evidence), 0.0, 1.0 / (RRF_OFFSET + 1 + order)).sum(axis=0))


def z_scores(evidence: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each modality in standard deviations above its mean, summed over the root of their number (Stouffer 1949)."""
    mean, deviation = (measure(evidence, axis=1, keepdims=True) for measure in (np.nanmean, np.nanstd))
    scores = (evidence - mean) / deviation
    return np.asarray(np.nansum(scores, axis=0) / np.sqrt((~np.isnan(scores)).sum(axis=0)))


def best_alone(evidence: NDArray[np.float64]) -> NDArray[np.float64]:
    """The most evidence."""
    return np.asarray(np.nanmax(evidence, axis=0))


JOINS: dict[str, recall.Join] = {
    "evidence, summed": combine,
    "evidence of the best": best_alone,
    "z-scores": z_scores,
    "reciprocal ranks": reciprocal_ranks,
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", choices=("train", "val", "test"))
    arguments = parser.parse_args()
    embedder = Embedder(load_checkpoint(arguments.checkpoint))
    clips = list(decode_some(read_split(arguments.data, arguments.split), embedder.config, None))
    table = Table("joined by", *(f"recall at {k}, %" for k in recall.DEPTHS))
    for name, join in JOINS.items():
        directions = recall.measure_recall(embedder, clips, model=name, join=join).directions
        figures = [estimate for estimate in directions[-1].recall.values() if estimate is not None]
        table.add_row(name, *(f"{100 * it.value:.1f} ({100 * it.low:.0f}-{100 * it.high:.0f})" for it in figures))
    Console().print(table)


if __name__ == "__main__":
    main()
