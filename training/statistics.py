"""What a configuration learns of the training split before the weights do: means, deviations, values of categories.

Streaming, in float64: the clips' means and sums of squares are merged pair by pair (Chan, Golub and LeVeque 1983,
"Algorithms for computing the sample variance"), so that neither a large offset nor many clips cost digits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from handler.clip import Clip, Row
from models.config import ModelConfig
from models.encoder_config import NumericColumn, TabularConfig, VectorConfig

SMALLEST_STD = 1e-30
"""Below it float32, in which the model divides by it, holds no digits."""


@dataclass(frozen=True)
class Moments:
    """Count, mean and sum of squared deviations of some columns."""

    count: NDArray[np.float64]
    """``(C,)`` float64: values seen, not a number left out."""
    mean: NDArray[np.float64]
    """``(C,)`` float64."""
    squares: NDArray[np.float64]
    """``(C,)`` float64: sum of the squared deviations from the mean."""

    @classmethod
    def of(cls, values: NDArray[np.floating]) -> Moments:
        """Of ``(T, C)`` float, NaN = missing."""
        wide = values.astype(np.float64)
        present = np.isfinite(wide)
        count = present.sum(axis=0).astype(np.float64)
        mean = np.where(present, wide, 0.0).sum(axis=0) / np.maximum(count, 1.0)
        squares = (np.where(present, wide - mean, 0.0) ** 2).sum(axis=0)
        return cls(count, mean, squares)

    def merged(self, other: Moments) -> Moments:
        """Of both together."""
        count = self.count + other.count
        share = other.count / np.maximum(count, 1.0)
        delta = other.mean - self.mean
        squares = self.squares + other.squares + delta**2 * self.count * share
        return Moments(count, self.mean + delta * share, squares)

    @property
    def std(self) -> NDArray[np.float64]:
        """``(C,)`` float64: standard deviation of the values seen; 1 for a column that never changes."""
        std = np.sqrt(self.squares / np.maximum(self.count, 1.0))
        floor = np.maximum(1e-12 * np.abs(self.mean), SMALLEST_STD)  # below it lies nothing but rounding
        return np.where(std > floor, std, 1.0)


def fit_statistics(config: ModelConfig, clips: Iterable[Clip]) -> ModelConfig:
    """Learn a configuration's statistics from the training split.

    Numbers of the table get their mean and standard deviation (of the values that are there), sequences of vectors
    theirs by channel, over the hops that have them. Categories without a value in ``config`` get those that the split
    has, sorted; those that a recipe lists stay as they are.

    Args:
        config: the model's configuration, as the recipe has it.
        clips: the decoded clips of the training split; read once.

    Returns:
        the configuration with what was learned, and of what no clip has as it was.
    """
    vectors: dict[str, Moments] = {}
    numbers: dict[str, Moments] = {}
    values: dict[str, set[str]] = {}
    for clip in clips:
        for name, hops in clip.vectors.items():
            rows = hops[clip.masks[name]]
            _add(vectors, name, Moments.of(rows.reshape(-1, rows.shape[-1])))
        if clip.row is not None and config.tabular is not None:
            _add_row(numbers, values, clip.row, config.tabular)
    fitted = {name: _fit_vectors(vector, vectors.get(name)) for name, vector in config.vectors.items()}
    tabular = None if config.tabular is None else _fit_table(config.tabular, numbers, values)
    return config.model_copy(update={"vectors": fitted, "tabular": tabular})


def _add(sums: dict[str, Moments], name: str, moments: Moments) -> None:
    sums[name] = sums[name].merged(moments) if name in sums else moments


def _add_row(numbers: dict[str, Moments], values: dict[str, set[str]], row: Row, config: TabularConfig) -> None:
    for name in config.numeric:
        number = row.get(name)
        if number is not None:
            _add(numbers, name, Moments.of(np.array([[float(number)]])))
    for name in config.categorical:
        value = row.get(name)
        if value is not None:
            values.setdefault(name, set()).add(str(value))


def _fit_vectors(config: VectorConfig, moments: Moments | None) -> VectorConfig:
    if moments is None:
        return config
    return config.model_copy(update={"mean": tuple(moments.mean.tolist()), "std": tuple(moments.std.tolist())})


def _fit_table(config: TabularConfig, numbers: Mapping[str, Moments], values: Mapping[str, set[str]]) -> TabularConfig:
    numeric = {
        name: NumericColumn(mean=float(numbers[name].mean[0]), std=float(numbers[name].std[0]))
        if name in numbers
        else column
        for name, column in config.numeric.items()
    }
    categorical = {name: listed or tuple(sorted(values.get(name, ()))) for name, listed in config.categorical.items()}
    return config.model_copy(update={"numeric": numeric, "categorical": categorical})
