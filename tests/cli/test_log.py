from __future__ import annotations

import json
from pathlib import Path

from cli.log import ServerLog, last_useful_lines

SAID = (
    ("main", "ModelServer", "Loading initial models: activity.mar", None),
    ("W-9000", "MODEL_LOG", "Traceback (most recent call last):", None),
    ("W-9000", "MODEL_LOG", '  File "/x/site-packages/ts/service.py", line 1', None),
    ("W-9000", "MODEL_LOG", '  File "<frozen importlib._bootstrap>", line 690', None),
    ("W-9000", "MODEL_LOG", '  File "/tmp/models/1/activity_handler.py", line 3', None),
    ("W-9000", "MODEL_LOG", "ModuleNotFoundError: No module named 'nonsense'", None),
    (
        *("W-9000", "BatchAggregator", "Load model failed: activity,\n error: Worker died."),
        "java.lang.RuntimeException: stopped\n\tat org.pytorch.serve.wlm.WorkerThread.run(W.java:1)\n\t... 3 more\n",
    ),
    ("main", "ModelServer", "something ordinary", None),
)
FIELDS = ("thread", "logger", "message", "exception")


def log_line(values: tuple[str | None, ...]) -> str:
    named = {name: value for name, value in zip(FIELDS, values, strict=True) if value is not None}
    return json.dumps({"time": "2026-11-21T11:59:29.100Z", "level": "INFO", **named})


LOG = "\n".join(["WARNING: what the process prints by itself", *map(log_line, SAID), ""])


def test_the_useful_lines_say_why() -> None:
    assert last_useful_lines(LOG).splitlines() == [
        "Traceback (most recent call last):",
        '  File "/tmp/models/1/activity_handler.py", line 3',
        "ModuleNotFoundError: No module named 'nonsense'",
        "Load model failed: activity,",
        "java.lang.RuntimeException: stopped",
    ]


def test_no_more_lines_than_fit_a_screen() -> None:
    assert len(last_useful_lines("Error: again\n" * 100).splitlines()) == 15


def test_a_log_without_faults_ends_with_its_last_lines() -> None:
    assert last_useful_lines("one\ntwo\n\nthree\n", limit=2) == "two\nthree"


def test_only_what_is_new_is_read(tmp_path: Path) -> None:
    (tmp_path / "server.log").write_text("Backend worker process died\n")
    log = ServerLog(tmp_path)
    assert log.read().strip() == ""
    with (tmp_path / "server.log").open("a") as server:
        server.write("new\n")
    (tmp_path / "console.log").write_text("console\n")
    assert log.read().split() == ["console", "new"]
    assert log.read_settled() == log.read()


def test_a_log_that_was_cut_in_between_is_read_from_its_start(tmp_path: Path) -> None:
    (tmp_path / "server.log").write_text("a long line of before\n")
    log = ServerLog(tmp_path)
    (tmp_path / "server.log").write_text("after\n")
    assert log.read().strip() == "after"
