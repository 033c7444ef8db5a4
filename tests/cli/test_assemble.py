"""From a recipe to an archive that stands alone."""

from __future__ import annotations

import json
import shutil
import socket
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from cli.app import app
from cli.archive import build_archive
from cli.assemble import assemble
from cli.canary import Canary, compare_predictions, read_canary
from cli.canary_parts import LABELS as CANARY_LABELS
from cli.errors import CommandError
from client.answer import Answer
from models.pretrained.weights import quiet_transformers
from tests.models.pretrained.pictures import picture
from tests.pretrained_factory import tiny_clap, tiny_clip
from tests.zero_shot import LABELS, noise, pipeline_of, png, recipe_values, wav


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recipe")
    with quiet_transformers():
        values = recipe_values(image=tiny_clip(folder / "clip"), audio=tiny_clap(folder / "clap"))
    (folder / "tiny.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    return folder / "tiny.yaml"


def test_the_archive_answers_without_sources_and_network(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = tmp_path / "made"
    assemble(recipe, checkpoint)
    assert f"{checkpoint}" in capsys.readouterr().err.replace("\n", "")
    with pytest.raises(CommandError, match="holds a checkpoint already"):
        assemble(recipe, checkpoint)
    options = json.dumps({"labels": LABELS, "extras": ["windows"]}).encode()
    request = {"image": png(picture(40, 32)), "audio": wav(noise(1)), "options": options}
    (expected,) = pipeline_of(checkpoint).respond([request], ["1"])
    archive = build_archive(checkpoint, tmp_path / "tiny.mar", name="activity")
    for source in ("clip", "clap"):
        shutil.move(recipe.parent / source, tmp_path / source)

    def refuse(*_: Any) -> None:
        raise OSError("there is no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    with zipfile.ZipFile(archive.path) as mar:
        mar.extractall(tmp_path / "stage")
    served = pipeline_of(tmp_path / "stage")
    (answer,) = served.respond([request], ["1"])
    assert answer.status == 200
    values = json.loads(answer.body)
    assert values.pop("model") == {"name": "activity", "version": "1.0"}
    assert values == {name: value for name, value in json.loads(expected.body).items() if name != "model"}
    canary = read_canary(archive.path)
    assert canary is not None
    assert set(canary.parts) == {"video", "text", "image"}
    assert canary.options == {"extras": ["embedding"], "labels": list(CANARY_LABELS)}
    asked = {**canary.parts, "options": json.dumps(canary.options).encode()}
    (sung,) = served.respond([asked], ["canary"])
    assert canary.find_fault(Answer(sung.status, sung.content_type, sung.body)) is None
    for source in ("clip", "clap"):
        shutil.move(tmp_path / source, recipe.parent / source)


def test_a_source_is_not_replaced_by_what_is_made_of_it(recipe: Path) -> None:
    clip = recipe.parent / "clip"
    before = {path.name: path.read_bytes() for path in clip.iterdir()}
    with pytest.raises(CommandError, match="holds a pretrained model"):
        assemble(recipe, clip, force=True)
    assert {path.name: path.read_bytes() for path in clip.iterdir()} == before


def test_a_canary_with_an_embedding_is_judged_by_it() -> None:
    def answer(embedding: list[float], score: float) -> dict[str, Any]:
        activities = [{"label": "a", "score": score}, {"label": "b", "score": 1 - score}]
        return {"activities": activities, "segments": [], "embedding": embedding}

    expected = answer([1.0, 0.0], 0.55)
    assert compare_predictions(expected, answer([1.0, 0.1], 0.45)) is None  # the best label is another, by little
    assert "cosine with the expected one is 0.707" in (compare_predictions(expected, answer([1.0, 1.0], 0.55)) or "")
    assert "the embedding is another" in (compare_predictions(expected, answer([0.0, 0.0], 0.55)) or "")
    assert "the score of a is 0.2" in (compare_predictions(expected, answer([1.0, 0.1], 0.2)) or "")
    assert Canary({}, expected).options == {}


def test_fit_shows_what_it_knows_of_each_label(recipe: Path, tmp_path: Path) -> None:
    lines = []
    for number, label in enumerate(("quiet", "loud", "quiet")):
        (tmp_path / f"{number}.wav").write_bytes(wav(noise(number) * (0.01 if label == "quiet" else 1.0)))
        (tmp_path / f"{number}.png").write_bytes(png(picture(40, 32, seed=number)))
        lines.append(json.dumps({"audio": f"{number}.wav", "image": f"{number}.png", "label": label}))
    data, output = tmp_path / "manifest.jsonl", tmp_path / "fitted"
    data.write_text("\n".join(lines), encoding="utf-8")
    made = CliRunner().invoke(app, ["assemble", str(recipe), "--output", str(tmp_path / "made")])
    assert made.exit_code == 0, made.output
    command = ["fit", str(tmp_path / "made"), "--data", str(data), "--output", str(output)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    rows = [line.split("│")[1:-1] for line in result.output.splitlines() if line.startswith("│")]
    cells = {row[0].strip(): [cell.strip() for cell in row[1:]] for row in rows}
    assert cells["quiet"][:2] == ["2", "2"]
    assert cells["loud"] == ["1", "1", "-"]
    assert "could not be validated" in result.output
    again = CliRunner().invoke(app, command)
    assert isinstance(again.exception, CommandError)
    same = CliRunner().invoke(app, [*command[:-1], str(tmp_path / "made"), "--force"])
    assert isinstance(same.exception, CommandError)
    assert "Name another folder" in same.exception.remedy


def test_inspect_shows_what_a_label_costs(recipe: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["inspect", str(recipe), "--output", str(tmp_path / "cost.json")])
    assert result.exit_code == 0, result.output
    assert "late fusion of scores, 0 labels, or a request's own" in " ".join(result.output.split())
    cost = json.loads((tmp_path / "cost.json").read_text(encoding="utf-8"))
    parts = {part["name"]: part for part in cost["parts"]}
    assert parts["towers.sight"]["flops"] > 0
    # a window of one hop: no label is embedded for it
    assert cost["next_window_flops"] == parts["encoders.image"]["flops"] + parts["encoders.audio"]["flops"]
    assert cost["num_parameters"] == sum(part["num_parameters"] for part in parts.values())
