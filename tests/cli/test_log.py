from __future__ import annotations

from pathlib import Path

from cli.log import ServerLog, last_useful_lines

LOG = """2026-11-21T11:59:29,1 [INFO ] main ModelServer - Loading initial models: activity.mar
2026-11-21T11:59:29,2 [INFO ] W-9000-activity_1.0-stdout MODEL_LOG - Traceback (most recent call last):
2026-11-21T11:59:29,2 [INFO ] W-9000-activity_1.0-stdout MODEL_LOG -   File "/x/site-packages/ts/service.py", line 1
2026-11-21T11:59:29,2 [INFO ] W-9000-activity_1.0-stdout MODEL_LOG -   File "<frozen importlib._bootstrap>", line 690
2026-11-21T11:59:29,2 [INFO ] W-9000-activity_1.0-stdout MODEL_LOG -   File "/tmp/models/1/activity_handler.py", line 3
2026-11-21T11:59:29,2 [INFO ] W-9000-activity_1.0-stdout MODEL_LOG - ModuleNotFoundError: No module named 'nonsense'
2026-11-21T11:59:29,3 [WARN ] W-9000-activity_1.0 BatchAggregator - Load model failed: activity, error: Worker died.
java.lang.RuntimeException: stopped
\tat org.pytorch.serve.wlm.WorkerThread.run(WorkerThread.java:1)
\t... 3 more
2026-11-21T11:59:29,4 [INFO ] main ModelServer - something ordinary
"""


def test_the_useful_lines_say_why() -> None:
    assert last_useful_lines(LOG).splitlines() == [
        "Traceback (most recent call last):",
        '  File "/tmp/models/1/activity_handler.py", line 3',
        "ModuleNotFoundError: No module named 'nonsense'",
        "Load model failed: activity, error: Worker died.",
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
