"""Timed sequences of vectors, such as an inertial sensor's: read, resampled and cut into hops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handler.clip import VectorSequence
from handler.errors import UndecodableMedia
from handler.limits import Limits
from handler.packets import check_duration
from handler.table import FLOAT32_MAX, Content, Json, Table, check_shape, read_table
from handler.windows import Schedule
from models.encoder_config import VectorConfig

SECONDS = "seconds"
"""The column, or key, of the times."""

MAX_SECONDS = 1e10
"""Beyond it float64 does not hold a microsecond; a clock that counts from 1970 stays below."""

REMEDY = (
    "Send CSV or Parquet with a column for each channel and, where the rate is another than the model's, a column "
    'named seconds; or JSON: {"seconds": [0.0, 0.02], "values": [[...], [...]]}, or a list of rows.'
)


def parse_vectors(content: Content, config: VectorConfig, limits: Limits) -> VectorSequence:
    """Read a sequence.

    Args:
        content: CSV or Parquet with one column a channel, in the model's order whatever they are called, and possibly
            a column ``seconds``; or JSON, ``{"seconds": [...], "values": [[...]]}`` with or without the seconds, or a
            list of rows. Without seconds the rows follow each other at the model's rate, from the timeline's zero on.
        config: the model's channels and rate.
        limits: bounds on bytes, columns, rows, cells and seconds.

    Raises:
        UndecodableMedia: no table, rows of another length than the model's channels, a value that is no finite number,
            times that fall.
        LimitExceeded: see :func:`handler.table.read_table`; or more seconds than allowed.
        UnsupportedMedia: likewise.
    """
    table = read_table(content, limits)
    times, rows = _of_table(table) if isinstance(table, Table) else _of_json(table, limits)
    values = _numbers(rows, config.channels)
    if times is None:
        seconds = np.arange(len(values), dtype=np.float64) / config.rate_hz
    else:
        seconds = _checked_times(times, len(values))
    elapsed = float(seconds[-1] - seconds[0])
    period = 1 / config.rate_hz if times is None or elapsed == 0 else elapsed / (len(seconds) - 1)
    check_duration(elapsed + period, limits)
    return VectorSequence(seconds, values, period)


def cut_vectors(
    sequence: VectorSequence, schedule: Schedule, config: VectorConfig, first_hop: int = 0, stop_hop: int | None = None
) -> NDArray[np.float32]:
    """Resample a sequence linearly and cut it into hops; of the schedule's hops ``first_hop .. stop_hop - 1``.

    A hop of R rows has them at ``start + k stride / R``, k = 0 .. R - 1: a sequence that comes at the model's rate
    and begins with the clip passes as it is. Before its first vector and after its last it holds them.

    Returns:
        ``(N, R, C)`` float32, R = round(rate_hz * stride_seconds), the same bits whichever hops are asked for.
    """
    num_rows = config.rows_per_hop(schedule.stride_seconds)
    stop_hop = schedule.num_hops if stop_hop is None else stop_hop
    places = np.arange(first_hop * num_rows, stop_hop * num_rows, dtype=np.float64)
    times = schedule.span.start_seconds + places * (schedule.stride_seconds / num_rows)
    resampled = np.empty((len(times), sequence.values.shape[1]), dtype=np.float32)
    for channel in range(resampled.shape[1]):
        values = sequence.values[:, channel]
        # Between two times that almost meet the slope overflows; what it gives lies between the values all the same.
        resampled[:, channel] = np.interp(times, sequence.seconds, values).clip(values.min(), values.max())
    return resampled.reshape(stop_hop - first_hop, num_rows, -1)


def _of_table(table: Table) -> tuple[Sequence[Any] | None, list[Sequence[Any]]]:
    if SECONDS not in table.columns:
        return None, table.rows
    place = table.columns.index(SECONDS)
    times = [row[place] for row in table.rows]
    return times, [(*row[:place], *row[place + 1 :]) for row in table.rows]


def _of_json(value: Json, limits: Limits) -> tuple[Sequence[Any] | None, list[Any]]:
    times: Any = None
    rows: Any = value
    if isinstance(value, Mapping):
        unknown = value.keys() - {SECONDS, "values"}
        if unknown or "values" not in value:
            raise UndecodableMedia("a JSON object of vectors has the keys seconds and values", remedy=REMEDY)
        rows, times = value["values"], value.get(SECONDS)
    if not isinstance(rows, list) or not rows or not all(isinstance(row, list) for row in rows):
        raise UndecodableMedia("the vectors are no list of rows, each a list of numbers", remedy=REMEDY)
    if times is not None and not isinstance(times, list):
        raise UndecodableMedia("the seconds are no list", remedy=REMEDY)
    check_shape(len(rows), max(map(len, rows)), limits, limits.max_table_rows)
    return times, rows


def _numbers(rows: Sequence[Sequence[Any]], channels: int) -> NDArray[np.float64]:
    """``(T, C)`` float64, finite also in float32."""
    for number, row in enumerate(rows, start=1):
        if len(row) != channels:
            raise UndecodableMedia(
                f"row {number} has {len(row)} values, the model takes {channels} channels", remedy=REMEDY
            )
    values = _floats(rows).reshape(len(rows), channels)
    wrong = ~(np.abs(values) <= FLOAT32_MAX)
    if wrong.any():
        first = int(wrong.any(axis=1).argmax()) + 1
        raise UndecodableMedia(f"row {first} has a value that is not finite", remedy=REMEDY)
    return values


def _checked_times(times: Sequence[Any], num_rows: int) -> NDArray[np.float64]:
    if len(times) != num_rows:
        raise UndecodableMedia(f"there are {len(times)} seconds for {num_rows} rows", remedy=REMEDY)
    seconds = _floats([times])[0]
    if not (np.abs(seconds) <= MAX_SECONDS).all():
        raise UndecodableMedia(f"the seconds must lie within {MAX_SECONDS:g} of zero", remedy=REMEDY)
    falls = np.flatnonzero(np.diff(seconds) < 0)
    if len(falls):
        row = int(falls[0]) + 1
        raise UndecodableMedia(
            f"the seconds fall from {seconds[row - 1]:g} in row {row} to {seconds[row]:g}",
            remedy="Sort the rows by time.",
        )
    return np.asarray(seconds, dtype=np.float64)


def _floats(rows: Sequence[Sequence[Any]]) -> NDArray[np.float64]:
    """Numbers, or text that says numbers, as float64."""
    try:
        return np.array([[_float(cell) for cell in row] for row in rows], dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as exc:
        raise UndecodableMedia("the vectors have a value that is no number", remedy=REMEDY) from exc


def _float(cell: Any) -> float:
    if isinstance(cell, bool) or not isinstance(cell, int | float | str):
        raise TypeError(cell)
    return float(cell)
