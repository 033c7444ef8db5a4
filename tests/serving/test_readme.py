from __future__ import annotations

import re
from pathlib import Path

import pytest

from cli.destination import Destination
from training.synth.render import RenderedClip

pytestmark = pytest.mark.server

README = Path(__file__).resolve().parents[2] / "README.md"


def run_example(
    comment: str, destination: Destination, clip: RenderedClip, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run the example below a comment beside the clip's files."""
    found = re.search(rf"<!-- {comment} -->\n```python\n(.*?)^```", README.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    assert found is not None
    code = found[1].replace("http://127.0.0.1:8080", destination.rest_url)
    code = code.replace("127.0.0.1:7070", destination.grpc_target)
    (folder / "clip.mp4").write_bytes(clip.video)
    (folder / "words.vtt").write_text(clip.words, encoding="utf-8")
    monkeypatch.chdir(folder)
    exec(compile(code, "README.md", "exec"), {"TOKEN": destination.token})  # noqa: S102 - our own example


def test_the_python_example_runs(
    destination: Destination,
    clip: RenderedClip,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_example("runs as a test", destination, clip, tmp_path, monkeypatch)
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[2] for line in printed] == [segment.label for segment in clip.segments]


def test_the_example_of_a_stream_runs(
    destination: Destination,
    clip: RenderedClip,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_example("runs as a test, too", destination, clip, tmp_path, monkeypatch)
    starts = [float(line.split()[0]) for line in capsys.readouterr().out.splitlines()]
    assert starts
    assert starts == sorted(starts)
