"""Indexing: each file once, whatever changes, breaks or kills it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from handler.decode import decode_request
from handler.embedding import Embedder
from handler.limits import Limits
from handler.runtime import choose_runtime
from models.checkpoint import load_checkpoint
from retrieval.digest import digest_checkpoint
from retrieval.errors import IndexUnusable
from retrieval.indexing import Identity, IndexReport, index_sources
from retrieval.search import Searcher
from retrieval.sources import find_sources
from retrieval.store import open_store
from tests.retrieval.towers import write_sound, write_towers, write_video

ODD_NAME = os.fsdecode(b"not utf8 \xff.wav")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_towers(tmp_path_factory.mktemp("towers"))


@pytest.fixture(scope="module")
def embedder(checkpoint: Path) -> Embedder:
    return Embedder(load_checkpoint(checkpoint), choose_runtime(threads=1))


@pytest.fixture
def media(tmp_path: Path) -> Path:
    folder = tmp_path / "media"
    write_video(folder / "sub" / "clip.mp4")
    (folder / "sub" / "clip.txt").write_text("stir the soup", encoding="utf-8")
    write_sound(folder / ODD_NAME)
    write_sound(folder / "tone.wav", hertz=880)
    return folder


def run(media: Path, index: Path, embedder: Embedder, checkpoint: Path) -> IndexReport:
    identity = Identity(checkpoint, digest_checkpoint(checkpoint), media)
    return index_sources(find_sources(media, embedder.config.modalities), index, embedder, identity)


def names(index: Path) -> list[str]:
    with open_store(index) as store:
        return sorted(moment.file for moment in store.moments().values())


def test_every_window_of_every_file(media: Path, tmp_path: Path, embedder: Embedder, checkpoint: Path) -> None:
    report = run(media, tmp_path / "index", embedder, checkpoint)
    assert (report.embedded, report.unchanged, report.dropped, report.failures) == (3, 0, 0, {})
    assert report.channels == {("own", "audio"): 8, ("own", "text"): 2, ("own", "video"): 2}
    assert names(tmp_path / "index") == [ODD_NAME] * 3 + ["sub/clip.mp4"] * 2 + ["tone.wav"] * 3
    (source,) = (it for it in find_sources(media, ("video", "audio", "text")) if it.name == "sub/clip.mp4")
    clip = decode_request(source.read(), embedder.config, Limits())
    expected = embedder.embed_clip(clip)["video"].vectors
    with open_store(tmp_path / "index") as store:
        numbers, vectors = store.vectors(("own", "video"))
        moments = [store.moments()[number] for number in numbers.tolist()]
    assert np.array_equal(vectors, expected)
    assert [(it.start_seconds, it.stop_seconds) for it in moments] == [
        (clip.schedule.window_span(place).start_seconds, clip.schedule.window_span(place).stop_seconds)
        for place in range(2)
    ]


def test_only_what_is_new_or_changed_is_embedded(
    media: Path, tmp_path: Path, embedder: Embedder, checkpoint: Path
) -> None:
    index = tmp_path / "index"
    run(media, index, embedder, checkpoint)
    written = (index / "own-audio.faiss").stat().st_mtime_ns
    report = run(media, index, embedder, checkpoint)
    assert (report.embedded, report.unchanged) == (0, 3)
    assert (index / "own-audio.faiss").stat().st_mtime_ns == written
    write_sound(media / "tone.wav", hertz=220, seconds=4.0)
    (media / ODD_NAME).unlink()
    write_sound(media / "new.wav")
    report = run(media, index, embedder, checkpoint)
    assert (report.embedded, report.unchanged, report.dropped) == (2, 1, 1)
    assert names(index) == ["new.wav"] * 3 + ["sub/clip.mp4"] * 2 + ["tone.wav"] * 5
    assert len(Searcher.read(index).channels["own", "audio"]) == 10
    (media / "sub" / "clip.txt").write_text("pour the milk", encoding="utf-8")
    assert run(media, index, embedder, checkpoint).embedded == 1


def test_what_does_not_decode_is_listed_and_stops_nothing(
    media: Path, tmp_path: Path, embedder: Embedder, checkpoint: Path
) -> None:
    (media / "broken.mp4").write_bytes(b"no video at all")
    (media / "empty.wav").touch()
    (media / "gone.wav").symlink_to(media / "nowhere.wav")
    for unchanged in (0, 3):
        report = run(media, tmp_path / "index", embedder, checkpoint)
        assert sorted(report.failures) == ["broken.mp4", "empty.wav", "gone.wav"]
        assert report.failures["gone.wav"] == "it cannot be read: No such file or directory"
        assert (report.embedded, report.unchanged) == (3 if unchanged == 0 else 0, unchanged)
    write_video(media / "broken.mp4")
    report = run(media, tmp_path / "index", embedder, checkpoint)
    assert (report.embedded, sorted(report.failures)) == (1, ["empty.wav", "gone.wav"])


def test_an_index_is_of_one_checkpoint_and_of_one_folder(
    media: Path, tmp_path: Path, embedder: Embedder, checkpoint: Path
) -> None:
    index = tmp_path / "index"
    run(media, index, embedder, checkpoint)
    other = write_towers(tmp_path / "other", seed=1)
    with pytest.raises(IndexUnusable, match="was made by another checkpoint"):
        run(media, index, embedder, other)
    with pytest.raises(IndexUnusable, match="is of the files below"):
        run(media / "sub", index, embedder, checkpoint)
    with pytest.raises(IndexUnusable, match="made by another checkpoint, or this one has changed"):
        Searcher.read(index).check(digest_checkpoint(other))


def test_the_digest_is_of_weights_words_and_settings(checkpoint: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(checkpoint, tmp_path / "copy")
    assert digest_checkpoint(copy) == digest_checkpoint(checkpoint)
    for name in ("model.safetensors", "tokenizer.json"):
        content = bytearray((copy / name).read_bytes())
        content[-1] ^= 1
        (copy / name).write_bytes(content)
        assert digest_checkpoint(copy) != digest_checkpoint(checkpoint)
        shutil.copy(checkpoint / name, copy / name)
    text = (copy / "model.json").read_text(encoding="utf-8")
    (copy / "model.json").write_text(text.replace('"name": "tiny"', '"name": "renamed"'), encoding="utf-8")
    assert digest_checkpoint(copy) == digest_checkpoint(checkpoint)
    (copy / "model.json").write_text(text.replace('"hop_length": 160', '"hop_length": 80'), encoding="utf-8")
    assert digest_checkpoint(copy) != digest_checkpoint(checkpoint)


SLOW = """
import sys, time
from pathlib import Path
from handler.embedding import Embedder
from handler.runtime import choose_runtime
from models.checkpoint import load_checkpoint
from retrieval.digest import digest_checkpoint
from retrieval.indexing import Identity, index_sources
from retrieval.sources import find_sources
media, index, checkpoint = map(Path, sys.argv[1:])
embedder = Embedder(load_checkpoint(checkpoint), choose_runtime(threads=1))
identity = Identity(checkpoint, digest_checkpoint(checkpoint), media)
def progress(done, total):
    print(done, flush=True)
    time.sleep(0.1)
index_sources(find_sources(media, embedder.config.modalities), index, embedder, identity, progress=progress)
"""


def test_killed_at_any_moment_it_goes_on(tmp_path: Path, embedder: Embedder, checkpoint: Path) -> None:
    """Killed after the third file: nothing is indexed twice, nothing is lost."""
    media, index = tmp_path / "media", tmp_path / "index"
    for number in range(8):
        write_sound(media / f"{number}.wav", hertz=200 + 50 * number)
    command = [sys.executable, "-c", SLOW, str(media), str(index), str(checkpoint)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as child:
        assert child.stdout is not None
        assert [child.stdout.readline() for _ in range(3)] == ["1\n", "2\n", "3\n"]
        child.send_signal(signal.SIGKILL)
    with open_store(index) as store:
        assert 3 <= len(store.stamps()) < 8
    with pytest.raises(IndexUnusable, match="was not finished"):
        Searcher.read(index)
    report = run(media, index, embedder, checkpoint)
    assert 3 <= report.unchanged < 8
    assert report.embedded == 8 - report.unchanged
    assert names(index) == [f"{number}.wav" for number in range(8) for _ in range(3)]
    assert len(Searcher.read(index).channels["own", "audio"]) == 24
