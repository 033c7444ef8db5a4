from __future__ import annotations

import ast
import hashlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from cli.archive import (
    LOCK,
    PACKAGES,
    PRETRAINED_REQUIREMENTS,
    REQUIREMENTS,
    ArchiveSummary,
    build_archive,
    read_limits,
    select_requirements,
)
from cli.archive_check import check_archive
from cli.errors import CommandError
from tests.cli.checkpoints import write_tiny_checkpoint

PROJECT = Path(__file__).parents[2]

DISTRIBUTION_OF = {"yaml": "pyyaml"}
"""Where a module is not named as its distribution."""

TRAINING_ONLY = {"huggingface_hub", "peft"}
"""What models/ imports where a source is sought or trained, which a server never does."""

# Runs in a fresh interpreter that can see the installed packages and the unpacked archive, and not the checkout.
CLEAN_PROCESS = """
import json, sys
from pathlib import Path
unpacked, project = Path(sys.argv[1]), Path(sys.argv[2])
sys.path[:] = [str(unpacked)] + [path for path in sys.path if Path(path).resolve() != project]
from handler.pipeline import ActivityPipeline
canary = unpacked / "canary"
parts = {"video": (canary / "clip.mp4").read_bytes(), "text": (canary / "words.vtt").read_bytes()}
pipeline = ActivityPipeline.from_checkpoint(unpacked)
(response,) = pipeline.respond([{name: bytearray(body) for name, body in parts.items()}], ["clean"])
sources = [Path(module.__file__) for module in list(sys.modules.values()) if getattr(module, "__file__", None)]
ours = [path for path in sources if project in path.parents and project / ".venv" not in path.parents]
assert not ours, ours
assert sys.modules["handler"].__file__ == str(unpacked / "handler" / "__init__.py")
assert response.status == 200, response.body
sys.stdout.buffer.write(response.body)
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="module")
def archive(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> ArchiveSummary:
    output = tmp_path_factory.mktemp("model store") / "tiny.mar"
    return build_archive(checkpoint, output, name="activity", version="2.0")


def read(archive: ArchiveSummary, name: str) -> str:
    with zipfile.ZipFile(archive.path) as mar:
        return mar.read(name).decode("utf-8")


def test_the_summary_is_true(archive: ArchiveSummary) -> None:
    content = archive.path.read_bytes()
    assert archive.size_bytes == len(content)
    assert archive.sha256 == hashlib.sha256(content).hexdigest()
    with zipfile.ZipFile(archive.path) as mar:
        assert mar.testzip() is None
        assert archive.num_files == len(mar.namelist())
    assert sorted(path.name for path in archive.path.parent.iterdir()) == ["tiny.mar", "tiny.mar.sha256"]
    assert (archive.path.parent / "tiny.mar.sha256").read_text() == f"{archive.sha256}  tiny.mar\n"
    assert check_archive(archive.path) == archive.sha256


def test_the_archive_holds_what_it_needs_and_nothing_else(archive: ArchiveSummary) -> None:
    with zipfile.ZipFile(archive.path) as mar:
        names = set(mar.namelist())
    code = {
        path.relative_to(PROJECT).as_posix() for package in PACKAGES for path in (PROJECT / package).rglob("*.py")
    } - {"handler/activity_handler.py"}
    assert names == code | {
        "MAR-INF/MANIFEST.json",
        "activity_handler.py",
        "canary/clip.mp4",
        "canary/expected.json",
        "canary/words.vtt",
        "model-config.yaml",
        "model.json",
        "model.safetensors",
        "requirements.txt",
        "tokenizer.json",
    }


def test_the_manifest_names_entry_weights_settings_and_requirements(archive: ArchiveSummary) -> None:
    manifest = json.loads(read(archive, "MAR-INF/MANIFEST.json"))
    assert manifest["model"] == {
        "modelName": "activity",
        "modelVersion": "2.0",
        "handler": "activity_handler.py",
        "serializedFile": "model.safetensors",
        "configFile": "model-config.yaml",
        "requirementsFile": "requirements.txt",
    }
    assert "createdOn" not in manifest


def test_name_and_version_are_in_the_answer_too(archive: ArchiveSummary) -> None:
    description = json.loads(read(archive, "model.json"))
    assert (description["name"], description["version"]) == ("activity", "2.0")
    assert json.loads(read(archive, "canary/expected.json"))["model"] == {"name": "activity", "version": "2.0"}


def test_the_checkpoints_own_name_is_the_default(checkpoint: Path, tmp_path: Path) -> None:
    summary = build_archive(checkpoint, tmp_path / "a.mar")
    assert json.loads(read(summary, "model.json"))["name"] == "tiny"
    assert json.loads(read(summary, "MAR-INF/MANIFEST.json"))["model"]["modelVersion"] == "0.1"


def test_the_settings_are_the_shipped_ones(archive: ArchiveSummary) -> None:
    shipped = (PROJECT / "config" / "model-config.yaml").read_text(encoding="utf-8")
    assert yaml.safe_load(read(archive, "model-config.yaml")) == yaml.safe_load(shipped)


def test_settings_that_no_server_starts_with_are_not_packaged(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, output = tmp_path / "model-config.yaml", tmp_path / "a.mar"
    monkeypatch.setattr("cli.archive.MODEL_CONFIG", config)
    config.write_text("handler:\n  limits: {max_frame: 3}\n  cage: true\n", encoding="utf-8")
    with pytest.raises(CommandError, match=r"model-config\.yaml, handler: unknown key 'limits.max_frame'"):
        build_archive(checkpoint, output)
    config.write_text("handler: {limits: {max_bytes: 3}}\n", encoding="utf-8")
    assert read_limits(config).max_bytes == 3
    with pytest.raises(CommandError, match="limit_bytes") as raised:
        build_archive(checkpoint, output)
    assert "too narrow" in raised.value.remedy
    assert not output.exists()


def test_the_same_input_gives_the_same_bytes(archive: ArchiveSummary, checkpoint: Path, tmp_path: Path) -> None:
    again = build_archive(checkpoint, tmp_path / "again.mar", name="activity", version="2.0")
    assert again.sha256 == archive.sha256


def test_it_answers_its_canary_in_a_clean_process(archive: ArchiveSummary, tmp_path: Path) -> None:
    unpacked = tmp_path / "unpacked"
    with zipfile.ZipFile(archive.path) as mar:
        mar.extractall(unpacked)
    done = subprocess.run(
        [sys.executable, "-I", "-c", CLEAN_PROCESS, unpacked, PROJECT], capture_output=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == (unpacked / "canary" / "expected.json").read_bytes()


def test_the_entry_has_one_class_and_only_it_imports_the_server() -> None:
    tree = ast.parse((PROJECT / "handler" / "activity_handler.py").read_text(encoding="utf-8"))
    assert [node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)] == ["ActivityHandler"]
    assert "ts" not in imported_modules()


def imported_modules() -> set[str]:
    """The top-level modules that the archive's packages import, the entry left out."""
    found: set[str] = set()
    for package in PACKAGES:
        for path in (PROJECT / package).rglob("*.py"):
            if path.name == "activity_handler.py":
                continue
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    found.update(alias.name.partition(".")[0] for alias in node.names)
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    found.add(node.module.partition(".")[0])
    return found


def test_the_requirements_are_what_the_code_imports() -> None:
    third_party = imported_modules() - set(sys.stdlib_module_names) - set(PACKAGES) - TRAINING_ONLY
    assert {DISTRIBUTION_OF.get(name, name) for name in third_party} == {*REQUIREMENTS, *PRETRAINED_REQUIREMENTS}


def test_every_requirement_has_its_locked_version(archive: ArchiveSummary) -> None:
    lines = read(archive, "requirements.txt").splitlines()
    assert {line.partition("==")[0] for line in lines} == set(REQUIREMENTS)
    lock = LOCK.read_text(encoding="utf-8")
    assert all(f"\n{line} \\\n" in lock for line in lines)


def test_requirements_keep_their_markers_and_lose_their_hashes() -> None:
    lock = (
        "av==18.1.0 \\\n    --hash=sha256:00\n    # via activity (pyproject.toml)\n"
        "numpy==2.4.6 ; python_full_version < '3.12' \\\n    --hash=sha256:11\n"
        "numpy==2.5.5 ; python_full_version >= '3.12' \\\n    --hash=sha256:22\n"
        "torch-model-archiver==0.12.0 \\\n    --hash=sha256:33\n"
    )
    assert select_requirements(lock, REQUIREMENTS) == (
        "av==18.1.0\nnumpy==2.4.6 ; python_full_version < '3.12'\nnumpy==2.5.5 ; python_full_version >= '3.12'\n"
    )


@pytest.mark.parametrize(("name", "version"), [("../x", "1.0"), ("a b", "1.0"), ("a", "1/0"), ("-a", "1.0")])
def test_names_that_could_leave_the_model_store_are_refused(
    checkpoint: Path, tmp_path: Path, name: str, version: str
) -> None:
    with pytest.raises(CommandError, match="cannot be used"):
        build_archive(checkpoint, tmp_path / "a.mar", name=name, version=version)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="is no checkpoint") as caught:
        build_archive(tmp_path / "nothing", tmp_path / "a.mar")
    assert "--checkpoint" in caught.value.remedy


def test_a_checkpoint_without_its_tokenizer_is_refused(tmp_path: Path) -> None:
    checkpoint = write_tiny_checkpoint(tmp_path / "checkpoint")
    (checkpoint / "tokenizer.json").unlink()
    with pytest.raises(CommandError, match=r"has no tokenizer\.json"):
        build_archive(checkpoint, tmp_path / "a.mar")


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    checkpoint = write_tiny_checkpoint(tmp_path / "checkpoint")
    description = json.loads((checkpoint / "model.json").read_text())
    description["config"]["width"] *= 2
    (checkpoint / "model.json").write_text(json.dumps(description))
    with pytest.raises(CommandError, match="does not fit") as caught:
        build_archive(checkpoint, tmp_path / "a.mar")
    assert "train it again" in caught.value.remedy
    assert not (tmp_path / "a.mar").exists()
