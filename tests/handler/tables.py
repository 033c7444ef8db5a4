"""Tables for tests, in each of their forms."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
from pyarrow import parquet

Columns = Mapping[str, Any]


def as_csv(columns: Columns) -> bytes:
    rows = zip(*columns.values(), strict=True)
    lines = [",".join(columns), *(",".join("" if cell is None else str(cell) for cell in row) for row in rows)]
    return ("\n".join(lines) + "\n").encode()


def as_parquet(columns: Columns, **options: Any) -> bytes:
    target = io.BytesIO()
    parquet.write_table(pa.table(dict(columns)), target, **{"compression": "snappy", **options})
    return target.getvalue()


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()
