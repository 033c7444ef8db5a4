"""What the dashboard and the alerts name exists in a live server, and each request has its line in the log."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import yaml
from typer.testing import CliRunner

from cli.app import app
from cli.destination import Destination
from cli.readiness import build_management
from cli.record import ServerRecord
from cli.scrape import increase, read_scrape
from cli.snapshot import Observer
from handler.inference import HOPS_PER_BATCH, WINDOWS_PER_BATCH
from training.synth.render import RenderedClip

pytestmark = pytest.mark.server

CONFIG = Path(__file__).parents[2] / "config"
SECRET = "the words\n{nobody may read"
FUNCTIONS = {"sum", "by", "rate", "increase", "histogram_quantile", "max_over_time", "label_values"}
TOLD = (  # after each request; the server reads them line by line
    *("activity_requests_total", "activity_windows_total", "activity_computed_total", "activity_padding_total"),
    *("activity_batch_fill_ratio_count", "activity_request_seconds_count", "activity_real_time_factor_count"),
)
DURATION = re.compile(r"\[[^]]*\]")
SELECTOR = re.compile(r"\{([^}]*)\}")
GROUPING = re.compile(r"\bby \(([^)]*)\)")
NAME = re.compile(r"\b[A-Za-z_]\w*")


def expressions() -> Iterator[str]:
    dashboard = json.loads((CONFIG / "grafana-dashboard.json").read_text("utf-8"))
    for panel in dashboard["panels"]:
        yield from (target["expr"] for target in panel["targets"])
    alerts = yaml.safe_load((CONFIG / "prometheus-alerts.yml").read_text("utf-8"))
    yield from (rule["expr"] for group in alerts["groups"] for rule in group["rules"])


def series_of(expression: str) -> set[str]:
    bare = GROUPING.sub("", SELECTOR.sub("", DURATION.sub("", expression)))
    return set(NAME.findall(bare)) - FUNCTIONS


def labels_of(expression: str) -> set[str]:
    matched = {match.split("=")[0].rstrip("!~") for each in SELECTOR.findall(expression) for match in each.split(",")}
    grouped = {label.strip() for each in GROUPING.findall(expression) for label in each.split(",")}
    return matched | grouped


def eventually(ready: Callable[[], bool]) -> None:
    """The server reads what its workers print after their answers are sent."""
    stop = time.monotonic() + 10
    while not ready() and time.monotonic() < stop:
        time.sleep(0.05)


def scrape(server: ServerRecord) -> dict[str, list[dict[str, str]]]:
    """For each series the labels of each of its values, with the value under ``""``."""
    text = httpx.get(server.metrics_url, timeout=30).raise_for_status().text
    found: dict[str, list[dict[str, str]]] = {}
    for line in text.splitlines():
        if matched := re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line):
            labels = dict(re.findall(r'(\w+)="([^"]*)"', matched[2] or ""))
            found.setdefault(matched[1], []).append({**labels, "": matched[3]})
    return found


def totals(values: list[dict[str, str]], label: str) -> dict[str, float]:
    """The values of a series added up, over models and versions too."""
    added: dict[str, float] = {}
    for each in values:
        added[each[label]] = added.get(each[label], 0.0) + float(each[""])
    return added


def requests_by_code(server: ServerRecord) -> dict[str, float]:
    return totals(scrape(server).get("activity_requests_total", []), "code")


def log_lines(server: ServerRecord) -> list[str]:
    return (server.logs / "requests.log").read_text("utf-8").splitlines()


@pytest.fixture(scope="module")
def asked(server: ServerRecord, destination: Destination, clip: RenderedClip) -> int:
    """Three good requests and two bad ones; how many lines the log had before."""
    before, lines = requests_by_code(server), len(log_lines(server))
    parts = {"video": clip.video, "text": SECRET.encode()}
    for grpc in (False, True, False):
        assert destination.ask(parts, {}, grpc=grpc).status == 200
    for bad in ({"video": b"no\nmedia"}, {"a\n{part": b"?"}):
        assert destination.ask(bad, {}, grpc=False).status in {400, 422}
    expected = {"ok": 3, "undecodable_media": 1, "unknown_part": 1}
    eventually(
        lambda: all(requests_by_code(server).get(code, 0) >= before.get(code, 0) + expected[code] for code in expected)
    )
    after = requests_by_code(server)
    assert {code: after[code] - before.get(code, 0) for code in expected} == expected
    return lines


@pytest.mark.parametrize("expression", sorted(set(expressions())))
@pytest.mark.usefixtures("asked")
def test_the_dashboard_and_the_alerts_name_what_exists(expression: str, server: ServerRecord) -> None:
    names = series_of(expression)
    assert names
    found = scrape(server)
    assert names <= found.keys()
    assert all(labels_of(expression) <= each.keys() for name in names for each in found[name])


@pytest.mark.usefixtures("asked")
def test_the_series_say_what_was_asked(server: ServerRecord) -> None:
    found = scrape(server)
    stages = totals(found["activity_stage_seconds_count"], "stage")
    assert {"receive", "decode", "transform", "encode", "fuse", "postprocess"} <= stages.keys()
    assert stages["receive"] > stages["decode"] > stages["encode"] >= 3
    modalities = {(each["modality"], each["outcome"]) for each in found["activity_modalities_total"]}
    assert {("video", "used"), ("audio", "used"), ("text", "used")} <= modalities
    computed, padding = (totals(found[f"activity_{name}_total"], "item") for name in ("computed", "padding"))
    assert computed.keys() == padding.keys() == {"hop", "window"}
    assert all(0 < padding[item] < computed[item] for item in computed)
    assert computed["window"] % WINDOWS_PER_BATCH == computed["hop"] % HOPS_PER_BATCH == 0
    factors = found["activity_real_time_factor_sum"], found["activity_real_time_factor_count"]
    total, count = (sum(float(each[""]) for each in values) for values in factors)
    assert count >= 3
    assert total > 0


def test_an_outcome_is_there_before_it_happens(server: ServerRecord) -> None:
    assert requests_by_code(server)["internal_error"] == 0


def test_each_request_has_its_line_and_none_of_its_words(asked: int, server: ServerRecord) -> None:
    eventually(lambda: len(log_lines(server)) >= asked + 5)
    lines = log_lines(server)
    values = [json.loads(line) for line in lines]
    assert [each["code"] for each in values[asked : asked + 5]] == [
        *("ok", "ok", "ok", "undecodable_media", "unknown_part"),
    ]
    assert len({each["request_id"] for each in values}) == len(values)
    assert values[asked]["bytes"]["text"] == len(SECRET)
    assert not any(
        "nobody may read" in line or "part" in line.split('"status"')[1] for line in lines[asked : asked + 5]
    )


@pytest.mark.usefixtures("asked")
def test_status_shows_the_servers_load(server: ServerRecord, destination: Destination, clip: RenderedClip) -> None:
    with build_management(server) as management:
        observer = Observer(server, management)
        assert all(model.load is None for model in observer.look().models)
        before = read_scrape(server.metrics_url)
        assert destination.ask({"video": clip.video}, {}, grpc=False).status == 200
        eventually(lambda: all(increase(before, read_scrape(server.metrics_url), name) > 0 for name in TOLD))
        snapshot = observer.look()
    model = next(model for model in snapshot.models if model.is_default)
    assert model.name == server.model
    assert model.load is not None
    assert model.load.requests_per_second == {"ok": pytest.approx(1 / model.load.seconds)}
    assert model.load.windows_per_second * model.load.seconds == pytest.approx(15)
    assert model.load.request_seconds is not None
    assert 0 < model.load.request_seconds[0] <= model.load.request_seconds[1]
    assert model.load.real_time_factor is not None
    assert 0 < model.load.batch_fill <= 1  # type: ignore[operator]  # there was a batch
    assert 0 < model.load.padding["hop"] < 1
    (worker, *_) = model.workers
    assert worker.ready
    assert worker.memory is not None
    assert worker.uptime_seconds is not None
    assert 0 < worker.uptime_seconds < snapshot.uptime_seconds
    assert worker.memory.pss_bytes is not None
    assert 100e6 < worker.memory.pss_bytes <= worker.memory.rss_bytes < snapshot.whole_memory.rss_bytes


def test_status_prints_tables_and_lines(server: ServerRecord) -> None:
    run_dir = ["--run-dir", server.run_dir]
    tables = CliRunner().invoke(app, ["status", *run_dir])
    assert (tables.exit_code, "REST" in tables.stdout, "PSS" in tables.stdout) == (0, True, True)
    once = json.loads(CliRunner().invoke(app, ["status", *run_dir, "--json"]).stdout)
    assert (once["addresses"]["rest"], once["addresses"]["metrics"]) == (server.inference_url, server.metrics_url)
    lines = CliRunner().invoke(app, ["status", *run_dir, "--watch", "--ticks", "2", "--interval", "0.1"])
    assert "of 1 workers ready" in lines.stdout
    assert "windows/s" in lines.stdout.splitlines()[-1]
    ticks = CliRunner().invoke(app, ["status", *run_dir, "-w", "--ticks", "2", "--interval", "0.1", "--json"])
    first, second = map(json.loads, ticks.stdout.splitlines())
    assert first["models"][0]["load"] is None
    assert second["models"][0]["load"]["requests_per_second"] == {}
