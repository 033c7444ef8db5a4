from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.attach import attach
from cli.errors import CommandError
from handler.pipeline import ActivityPipeline
from handler.runtime import choose_runtime
from models.checkpoint import read_description
from tests.cli.checkpoints import write_tiny_checkpoint
from tests.media import Sound, render
from tests.side_factory import tiny_blip, tiny_whisper

pytestmark = pytest.mark.filterwarnings("ignore:std")  # the library's, of a pass that says one token


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sources")
    tiny_whisper(folder / "whisper", seed=3)
    tiny_blip(folder / "blip")
    return folder


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_tiny_checkpoint(tmp_path / "checkpoint")


def respond(folder: Path, **parts: object) -> dict[str, object]:
    pipeline = ActivityPipeline.from_checkpoint(folder, runtime=choose_runtime(threads=1))
    values = json.loads(pipeline.respond([parts], ["request"])[0].body)
    assert isinstance(values, dict)
    return values


def test_a_checkpoint_learns_to_hear(checkpoint: Path, sources: Path, tmp_path: Path) -> None:
    hearing = tmp_path / "hearing"
    attach(checkpoint, hearing, transcriber=str(sources / "whisper"), language="en")
    sound = render("wav", Sound(codec="pcm_s16le", seconds=3.0))
    found = respond(hearing, audio=sound, text="auto", options={"extras": ["transcript"]})
    assert found["transcript"]
    assert respond(hearing, audio=sound) == respond(checkpoint, audio=sound)
    config = read_description(hearing).config
    assert config.transcriber is not None
    assert config.transcriber.language == "en"
    assert read_description(checkpoint).config.transcriber is None


def test_one_after_the_other(checkpoint: Path, sources: Path, tmp_path: Path) -> None:
    attach(checkpoint, tmp_path / "hearing", transcriber=str(sources / "whisper"), language="en")
    (tmp_path / "hearing" / "transcriber" / "note.json").write_text("{}")  # so that we see which one is copied
    attach(tmp_path / "hearing", tmp_path / "both", captioner=str(sources / "blip"), prompt="a video of")
    assert (tmp_path / "both" / "transcriber" / "note.json").exists()
    assert (tmp_path / "both" / "captioner" / "model.safetensors").exists()
    config = read_description(tmp_path / "both").config
    assert config.transcriber is not None
    assert config.captioner is not None
    assert config.captioner.prompt == "a video of"


def test_what_does_not_load_leaves_nothing(checkpoint: Path, sources: Path, tmp_path: Path) -> None:
    for options, message in (
        ({"transcriber": str(sources / "blip")}, "a transcriber is a Whisper"),
        ({"transcriber": str(sources / "whisper"), "language": "klingon"}, "none of Whisper's"),
        ({"transcriber": "someone/whisper"}, "needs a revision"),
        ({"transcriber": "someone/whisper", "transcriber_revision": "main"}, "transcriber.revision"),
    ):
        with pytest.raises(CommandError, match=message):
            attach(checkpoint, tmp_path / "new", **options)
        assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_options_belong_to_a_model(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="nothing to attach"):
        attach(checkpoint, tmp_path / "new")
    with pytest.raises(CommandError, match="--prompt is of a model that is not named"):
        attach(checkpoint, tmp_path / "new", transcriber="whisper", prompt="a video of")


def test_a_checkpoint_is_not_overwritten(checkpoint: Path, sources: Path) -> None:
    with pytest.raises(CommandError, match="is no empty folder"):
        attach(checkpoint, checkpoint, transcriber=str(sources / "whisper"))
    with pytest.raises(CommandError, match="is no empty folder"):
        attach(checkpoint, checkpoint / "model.json", transcriber=str(sources / "whisper"))
