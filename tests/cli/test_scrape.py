from __future__ import annotations

import httpx
import pytest

from cli.scrape import Scrape, increase, increases, parse_scrape, quantiles, read_scrape
from client.errors import ServerUnreachable

TEXT = """# HELP activity_requests_total Torchserve prometheus counter metric with unit: Count
# TYPE activity_requests_total counter
activity_requests_total{model_name="activity",model_version="1.0",code="ok",Hostname="vm",} 7.0
activity_requests_total{model_name="activity",model_version="2.0",code="ok",Hostname="vm",} 2.0
activity_requests_total{model_name="a \\" } b",model_version="1.0",code="ok",Hostname="vm",} 1.0E-4
up 1
no sample at all

"""


def histogram(*counts: float, version: str = "1.0", at_seconds: float = 0.0) -> Scrape:
    bounds = ("0.1", "0.5", "1.0", "+Inf")
    lines = (f'x_bucket{{v="{version}",le="{bound}",}} {count}' for bound, count in zip(bounds, counts, strict=True))
    return parse_scrape("\n".join(lines), at_seconds)


def test_samples_are_found_by_their_labels() -> None:
    scrape = parse_scrape(TEXT, 5.0)
    assert scrape.at_seconds == 5.0
    assert scrape.values.keys() == {"activity_requests_total", "up"}
    assert scrape.total("up") == 1
    assert scrape.total("activity_requests_total", model_name="activity") == 9
    assert scrape.total("activity_requests_total", model_name="activity", model_version="2.0") == 2
    assert scrape.total("activity_requests_total", model_name='a \\" } b') == 1e-4
    assert scrape.total("nothing") == 0


def test_a_counter_that_began_again_counts_from_zero() -> None:
    before = parse_scrape('x{a="1"} 5\nx{a="2"} 8\n', 0.0)
    after = parse_scrape('x{a="1"} 7\nx{a="2"} 3\nx{a="3"} 1\n', 1.0)
    assert increases(before, after, "x") == {(("a", "1"),): 2, (("a", "2"),): 3, (("a", "3"),): 1}
    assert increase(before, after, "x", a="2") == 3


def test_quantiles_lie_evenly_in_their_bucket() -> None:
    before, after = histogram(1, 1, 1, 1), histogram(1, 5, 9, 11)  # 4 in (0.1, 0.5], 4 in (0.5, 1], 2 above
    assert quantiles(before, after, "x", (0.0, 0.2, 0.4, 0.6, 0.8)) == pytest.approx((0.1, 0.3, 0.5, 0.75, 1.0))
    assert quantiles(before, after, "x", (0.95, 1.0)) == (1.0, 1.0)


def test_the_first_bucket_begins_at_zero() -> None:
    assert quantiles(histogram(0, 0, 0, 0), histogram(4, 4, 4, 4), "x", (0.5,)) == (0.05,)


def test_nothing_new_has_no_quantiles() -> None:
    assert quantiles(histogram(1, 2, 3, 3), histogram(1, 2, 3, 3), "x", (0.5,)) is None
    assert quantiles(histogram(0, 0, 0, 0), histogram(0, 4, 4, 4), "x", (0.5,), v="2.0") is None
    assert quantiles(parse_scrape("", 0.0), parse_scrape("", 1.0), "x", (0.5,)) is None


def test_a_server_that_is_not_there_is_said() -> None:
    with pytest.raises(ServerUnreachable, match=r"No server could be reached at http://127\.0\.0\.1:9"):
        read_scrape("http://127.0.0.1:9/metrics")


def test_what_is_no_page_of_metrics_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    response = httpx.Response(404, request=httpx.Request("GET", "http://127.0.0.1/"))
    monkeypatch.setattr(httpx, "get", lambda *_, **__: response)
    with pytest.raises(ServerUnreachable):
        read_scrape("http://127.0.0.1/")
