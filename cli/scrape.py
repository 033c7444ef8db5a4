"""What a server's metrics say at one moment, and between two."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import httpx

from client.errors import unreachable
from client.rest import is_loopback

TIMEOUT_SECONDS = 10.0

SAMPLE = re.compile(r"(\w+)(?:\{(.*)\})? (\S+)")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
BOUND = "le"
"""The label of a histogram's bucket: the greatest value in it."""

Labels = tuple[tuple[str, str], ...]
"""Names and values, sorted."""


@dataclass(frozen=True)
class Scrape:
    """The values of all series at one moment."""

    at_seconds: float
    """On the clock of ``time.monotonic``."""
    values: Mapping[str, Mapping[Labels, float]]
    """By series and labels."""

    def total(self, name: str, /, **labels: str) -> float:
        """The sum of a series' values that have these labels."""
        return sum(self.select(name, **labels).values())

    def select(self, name: str, /, **labels: str) -> dict[Labels, float]:
        """A series' values that have these labels."""
        wanted = labels.items()
        return {each: value for each, value in self.values.get(name, {}).items() if wanted <= dict(each).items()}


def read_scrape(url: str) -> Scrape:
    """Ask a server for its metrics.

    Raises:
        ClientError: when it does not answer.
    """
    try:
        response = httpx.get(url, timeout=TIMEOUT_SECONDS, trust_env=not is_loopback(url))
        response.raise_for_status()
    except httpx.HTTPError as exc:
        raise unreachable(url, exc) from exc
    return parse_scrape(response.text, time.monotonic())


def parse_scrape(text: str, at_seconds: float) -> Scrape:
    """Read Prometheus' text format; what is no sample is left out."""
    values: dict[str, dict[Labels, float]] = {}
    for line in text.splitlines():
        matched = SAMPLE.fullmatch(line)
        if matched is not None:
            labels = tuple(sorted(LABEL.findall(matched[2] or "")))
            values.setdefault(matched[1], {})[labels] = float(matched[3])
    return Scrape(at_seconds, values)


def increases(before: Scrape, after: Scrape, name: str, /, **labels: str) -> dict[Labels, float]:
    """How much each counter of a series has grown; one that is smaller now began again in between."""
    old = before.values.get(name, {})
    found = after.select(name, **labels)
    return {each: value - old.get(each, 0.0) if value >= old.get(each, 0.0) else value for each, value in found.items()}


def increase(before: Scrape, after: Scrape, name: str, /, **labels: str) -> float:
    """How much a series has grown, over all its labels."""
    return sum(increases(before, after, name, **labels).values())


def quantiles(
    before: Scrape, after: Scrape, name: str, wanted: Sequence[float], /, **labels: str
) -> tuple[float, ...] | None:
    """Quantiles of the values that a histogram was given in between; None where it was given none.

    As Prometheus' ``histogram_quantile``: a bucket's values lie evenly in it, and above the last bound nothing is
    known but that bound.

    Args:
        before: the earlier scrape.
        after: the later one.
        name: the histogram's, without ``_bucket``.
        wanted: each in [0, 1].
        labels: of the histogram's series; over all others the values are taken together.
    """
    counts: dict[float, float] = {}
    for each, grown in increases(before, after, f"{name}_bucket", **labels).items():
        bound = float(dict(each)[BOUND])
        counts[bound] = counts.get(bound, 0.0) + grown
    buckets = sorted(counts.items())
    if not buckets or buckets[-1][1] <= 0:
        return None
    return tuple(_quantile(buckets, each) for each in wanted)


def _quantile(buckets: Sequence[tuple[float, float]], wanted: float) -> float:
    """Of buckets as (bound, values up to it), rising, the last bound infinite."""
    rank = wanted * buckets[-1][1]
    low, below = 0.0, 0.0
    for bound, count in buckets:
        if count >= rank and count > below:
            return low if math.isinf(bound) else low + (bound - low) * (rank - below) / (count - below)
        low, below = (low if math.isinf(bound) else bound), count
    return low
