"""An archive's weight: known by part before it is written, copied piece by piece, of any size."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tracemalloc
import zipfile
from collections import namedtuple
from pathlib import Path

import pytest

from cli import archive as archive_module
from cli.archive import COPY_BYTES, MANIFEST, ArchiveSummary, build_archive
from cli.archive_size import ArchiveSizes, check_room, measure_archive
from cli.errors import CommandError
from models.side_config import CaptionerConfig, TranscriberConfig
from tests.cli.checkpoints import write_tiny_checkpoint
from tests.cli.test_archive import read
from tests.models.tiny import TINY
from tests.side_factory import tiny_blip, tiny_whisper, write_checkpoint

PROJECT = Path(__file__).parents[2]
USAGE = namedtuple("USAGE", ["total", "used", "free"])


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with a transcriber in several files and a captioner; their sources are gone."""
    sources = tmp_path_factory.mktemp("sources")
    whisper = tiny_whisper(sources / "whisper", seed=3, max_shard_size="200KB")
    config = TINY.model_copy(
        update={
            "transcriber": TranscriberConfig(source=str(whisper), language="en", max_new_tokens=8),
            "captioner": CaptionerConfig(source=str(tiny_blip(sources / "blip")), max_new_tokens=4),
        }
    )
    folder = write_checkpoint(tmp_path_factory.mktemp("checkpoint"), config)
    (folder / "transcriber" / "pytorch_model.bin").write_text("not read, not packed")
    shutil.rmtree(sources)
    return folder


@pytest.fixture(scope="module")
def archive(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> ArchiveSummary:
    return build_archive(checkpoint, tmp_path_factory.mktemp("store") / "side.mar")


def test_side_models_are_packed_whole(checkpoint: Path, archive: ArchiveSummary) -> None:
    with zipfile.ZipFile(archive.path) as mar:
        assert mar.testzip() is None
        packed = {name: mar.read(name) for name in mar.namelist() if name.startswith(("transcriber/", "captioner/"))}
    there = {
        path.relative_to(checkpoint).as_posix(): path.read_bytes()
        for side in ("transcriber", "captioner")
        for path in (checkpoint / side).iterdir()
        if path.suffix != ".bin"
    }
    assert packed == there
    assert sum(name.endswith(".safetensors") for name in packed) > 2


def test_transformers_is_required_where_a_part_is_pretrained(archive: ArchiveSummary, tmp_path: Path) -> None:
    plain = build_archive(write_tiny_checkpoint(tmp_path / "plain"), tmp_path / "plain.mar")
    named = {line.partition("==")[0] for line in read(archive, "requirements.txt").splitlines()}
    assert named - {line.partition("==")[0] for line in read(plain, "requirements.txt").splitlines()} == {
        "transformers"
    }


# Sockets that lead to other machines are closed off, so whatever would fetch something fails.
WITHOUT_NETWORK = """
import json, socket, sys
from pathlib import Path
def refuse(*_args, **_options):
    raise AssertionError("the network was asked")
socket.socket.connect = socket.getaddrinfo = refuse
unpacked, project = Path(sys.argv[1]), Path(sys.argv[2])
sys.path[:] = [str(unpacked)] + [path for path in sys.path if Path(path).resolve() != project]
from handler.pipeline import ActivityPipeline
options = {"extras": ["transcript", "descriptions"], "threshold": 0.0}
parts = {"video": (unpacked / "canary" / "clip.mp4").read_bytes(), "text": "auto", "options": json.dumps(options)}
(response,) = ActivityPipeline.from_checkpoint(unpacked).respond([parts], ["clean"])
sys.stdout.buffer.write(response.body)
"""


def test_an_archive_transcribes_and_describes_without_network_or_checkout(
    archive: ArchiveSummary, tmp_path: Path
) -> None:
    with zipfile.ZipFile(archive.path) as mar:
        mar.extractall(tmp_path)
    command = [sys.executable, "-I", "-W", "ignore", "-c", WITHOUT_NETWORK, str(tmp_path), str(PROJECT)]
    done = subprocess.run(command, capture_output=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    answer = json.loads(done.stdout)
    assert answer["status"] == 200
    assert answer["transcript"]
    assert all(segment["description"] for segment in answer["segments"])


def test_a_checkpoint_without_its_side_model_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(checkpoint, tmp_path / "checkpoint")
    shutil.rmtree(tmp_path / "checkpoint" / "captioner")
    with pytest.raises(CommandError, match="has no folder captioner"):
        build_archive(tmp_path / "checkpoint", tmp_path / "a.mar")


def test_the_sizes_are_said_before_anything_is_written(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[bool] = []
    monkeypatch.setattr(archive_module, "say", lambda _text: written.append(any(tmp_path.iterdir())))
    summary = build_archive(checkpoint, tmp_path / "a.mar")
    assert written == [False]
    monkeypatch.undo()
    build_archive(checkpoint, tmp_path / "a.mar")
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "to write" in line]
    for part in ("encoders.video", "encoders.audio", "encoders.text", "fusion", "head", "transcriber", "captioner"):
        assert part in line
    total = float(line.split(" MB")[0]) * 1e6
    assert total == pytest.approx(summary.size_bytes, rel=0.03)


def test_weights_are_summed_by_part(checkpoint: Path) -> None:
    path = checkpoint / "model.safetensors"
    shards = sorted((checkpoint / "transcriber").glob("*.safetensors"))
    weights = {"model.safetensors": path, **{f"transcriber/{shard.name}": shard for shard in shards}}
    sizes = {name: file.stat().st_size for name, file in weights.items()}
    sizes |= {"handler/a.py": 10, "models/b.py": 20, "activity_handler.py": 5, "model.json": 7, MANIFEST: 3}
    found = measure_archive(sizes, weights)
    assert found.total == sum(sizes.values())
    assert (found.code, found.rest) == (35, 10)
    assert found.weights["transcriber"] == sum(shard.stat().st_size for shard in shards)
    assert sum(found.weights.values()) - found.weights["transcriber"] == path.stat().st_size
    assert set(found.weights) == {
        *("encoders.audio", "encoders.text", "encoders.video", "fusion", "head", "transcriber")
    }


def test_sizes_are_shown_in_units_that_fit() -> None:
    assert str(ArchiveSizes({"head": 1_234_000_000}, 500_000, 49_000)) == (
        "1.23 GB to write: weights 1.23 GB (head 1.23 GB), code 0.5 MB, rest 0.0 MB"
    )


def test_a_full_disk_is_noticed_before_anything_is_written(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: USAGE(10, 9, 100_000))
    with pytest.raises(CommandError, match=r"has 0\.1 MB free, the archive needs") as caught:
        build_archive(checkpoint, tmp_path / "a.mar")
    assert "-o" in caught.value.remedy
    assert list(tmp_path.iterdir()) == []
    check_room(tmp_path, 90_000)


def archived(tmp_path: Path, weights: dict[str, Path]) -> Path:
    """What the archiver gives: empty files where the weights belong."""
    path = tmp_path / "archived.mar"
    with zipfile.ZipFile(path, "w") as mar:
        mar.writestr(MANIFEST, json.dumps({"createdOn": "today", "model": {}}))
        for name in weights:
            mar.writestr(name, b"")
    return path


def sparse(path: Path, num_bytes: int) -> Path:
    """A safetensors file of one tensor of zeros."""
    header = json.dumps({"head.weight": {"dtype": "U8", "shape": [num_bytes], "data_offsets": [0, num_bytes]}}).encode()
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + num_bytes)
    return path


def test_weights_are_never_whole_in_memory(tmp_path: Path) -> None:
    weights = {"model.safetensors": sparse(tmp_path / "weights", 64 * 1024 * 1024)}
    empty = archived(tmp_path, weights)
    tracemalloc.start()
    try:
        summary = archive_module._write_archive(empty, tmp_path / "a.mar", weights)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert summary.size_bytes > 64 * 1024 * 1024
    assert peak < 4 * COPY_BYTES


def test_an_entry_beyond_the_old_limit_is_written_in_the_64_bit_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the limit of 2 GiB lowered to 1 MB, so that nothing large need be written."""
    weights = {"model.safetensors": sparse(tmp_path / "weights", 3_000_000)}
    small = archive_module._write_archive(archived(tmp_path, weights), tmp_path / "small.mar", weights)
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 1_000_000)
    large = archive_module._write_archive(archived(tmp_path, weights), tmp_path / "large.mar", weights)
    assert large.size_bytes > small.size_bytes
    with zipfile.ZipFile(large.path) as mar:
        assert mar.getinfo("model.safetensors").extract_version == zipfile.ZIP64_VERSION
        assert mar.testzip() is None
        assert mar.read("model.safetensors") == weights["model.safetensors"].read_bytes()
