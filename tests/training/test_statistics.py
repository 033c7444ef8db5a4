from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from handler.clip import Clip, Row
from handler.windows import Span, build_schedule
from models.config import ModelConfig
from models.encoder_config import NumericColumn, TabularConfig, VectorConfig
from training.statistics import Moments, fit_statistics

CONFIG = ModelConfig(
    labels=("a", "b"),
    video=None,
    audio=None,
    text=None,
    tabular=TabularConfig(
        numeric={"guests": NumericColumn(), "same": NumericColumn(), "never": NumericColumn(mean=3.0, std=2.0)},
        categorical={"place": (), "day": ("sunday", "monday")},
    ),
    vectors={"imu": VectorConfig(channels=3, rate_hz=8), "gaze": VectorConfig(channels=1, rate_hz=8)},
)


def clip(row: Row | None, imu: NDArray[np.float32] | None = None, mask: tuple[bool, ...] = (True, True)) -> Clip:
    return Clip(
        schedule=build_schedule(Span(0.0, 1.0), CONFIG.windows),
        modalities={},
        row=row,
        vectors={} if imu is None else {"imu": imu},
        masks={} if imu is None else {"imu": np.array(mask)},
    )


def clips() -> list[Clip]:
    rng = np.random.default_rng(0)
    imu = rng.normal((0.0, 1e3, 5.0), (1.0, 0.5, 0.0), (3, 2, 4, 3)).astype(np.float32)
    imu[1, 1] = 1e9  # a hop without it
    rows: list[Row] = [
        {"guests": 10.0, "same": 7.0, "never": None, "place": "hall", "day": "friday"},
        {"guests": None, "same": 7.0, "never": None, "place": "field", "day": None},
        {"guests": 40.0, "same": 7.0, "never": None, "place": None, "day": "sunday"},
    ]
    masks = [(True, True), (True, False), (True, True)]
    return [clip(row, hops, mask) for row, hops, mask in zip(rows, imu, masks, strict=True)] + [clip(None)]


def test_what_was_learned_is_that_of_all_values_at_once() -> None:
    fitted = fit_statistics(CONFIG, iter(clips()))
    rows = np.concatenate([it.vectors["imu"][it.masks["imu"]].reshape(-1, 3) for it in clips()[:3]]).astype(np.float64)
    imu = fitted.vectors["imu"]
    assert imu.mean is not None
    np.testing.assert_allclose(imu.mean, rows.mean(axis=0), rtol=1e-14)
    assert imu.std is not None
    np.testing.assert_allclose(imu.std[:2], rows.std(axis=0)[:2], rtol=1e-9)
    assert imu.std[2] == 1.0  # a channel that never changes
    assert fitted.tabular is not None
    assert fitted.tabular.numeric == {
        "guests": NumericColumn(mean=25.0, std=15.0),
        "same": NumericColumn(mean=7.0, std=1.0),
        "never": NumericColumn(mean=3.0, std=2.0),  # no clip has it
    }
    assert fitted.tabular.categorical == {"place": ("field", "hall"), "day": ("sunday", "monday")}
    assert fitted.vectors["gaze"] == CONFIG.vectors["gaze"]


def test_the_order_of_the_columns_stays_and_the_rest_is_as_it_was() -> None:
    fitted = fit_statistics(CONFIG, clips())
    assert fitted.tabular is not None
    assert CONFIG.tabular is not None
    assert fitted.tabular.columns == CONFIG.tabular.columns
    assert fitted.modalities == CONFIG.modalities
    assert ModelConfig.read(fitted.model_dump(mode="json"), source="checkpoint") == fitted
    plain = ModelConfig(labels=("a", "b"))
    assert fit_statistics(plain, [clip(None)]) == plain


@given(st.lists(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=9), min_size=1, max_size=6), st.floats(-1e6, 1e6))
def test_merged_moments_are_those_of_the_whole(parts: list[list[float]], offset: float) -> None:
    arrays = [np.array(part)[:, None] + offset for part in parts]
    merged = Moments.of(arrays[0])
    for array in arrays[1:]:
        merged = merged.merged(Moments.of(array))
    whole = np.concatenate(arrays)
    assert merged.count.tolist() == [len(whole)]
    np.testing.assert_allclose(merged.mean, whole.mean(axis=0), rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(merged.squares, ((whole - whole.mean()) ** 2).sum(axis=0), rtol=1e-6, atol=1e-6)


def test_a_large_offset_costs_no_digits() -> None:
    values = np.array([[1e9 + 1], [1e9 + 2], [1e9 + 3]])
    moments = Moments.of(values[:1]).merged(Moments.of(values[1:]))
    assert moments.std[0] == pytest.approx(np.sqrt(2 / 3), rel=1e-6)


def test_a_column_of_numbers_below_float32_is_constant() -> None:
    assert Moments.of(np.array([[1e-50], [3e-50]])).std.tolist() == [1.0]
