from __future__ import annotations

import json
from pathlib import Path

from transformers import CLIPVisionModel
from typer.testing import CliRunner

from cli.app import app
from cli.errors import CommandError
from models.pretrained.weights import quiet_transformers
from tests.pretrained_factory import tiny_ast, tiny_clip

ROOT = Path(__file__).resolve().parent.parent.parent


def test_a_recipe_and_its_checkpoint_cost_the_same(tmp_path: Path) -> None:
    costs = []
    for source in ("config/recipes/demo.yaml", "model-store/demo"):
        output = tmp_path / "cost.json"
        result = CliRunner().invoke(app, ["inspect", str(ROOT / source), "--output", str(output)])
        assert result.exit_code == 0, result.output
        costs.append(json.loads(output.read_text(encoding="utf-8")))
    assert costs[0] == costs[1]
    assert costs[0]["num_parameters"] == 1_776_584
    assert costs[0]["transformer_flops"] == costs[0]["formula_flops"]
    assert costs[0]["stream_bytes"] == 3 * (2 + 2 + 1) * 96 * 4  # three hops of the tokens of picture, sound and words
    assert "75.11 M" in result.output


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["inspect", str(tmp_path / "none.yaml")])
    assert isinstance(result.exception, CommandError)
    assert "none.yaml" in result.exception.message


def test_an_unknown_key_names_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("model: {labels: [a, b], widht: 8}\n", encoding="utf-8")
    result = CliRunner().invoke(app, ["inspect", str(tmp_path / "recipe.yaml")])
    assert isinstance(result.exception, CommandError)
    assert "widht" in result.exception.message
    assert "width" in result.exception.message


def test_pretrained_encoders_are_counted(tmp_path: Path) -> None:
    with quiet_transformers():
        clip, sound = tiny_clip(tmp_path / "clip"), tiny_ast(tmp_path / "ast")
    recipe = f"""
model:
  width: 24
  labels: [a, b]
  video: {{encoder: pretrained, frames_per_hop: 2, pretrained: {{source: {clip}}}}}
  audio: {{encoder: pretrained, pretrained: {{source: {sound}}}}}
  text: {{encoder: pretrained, pretrained: {{source: {clip}}}}}
  fusion: {{kind: late}}
"""
    (tmp_path / "recipe.yaml").write_text(recipe, encoding="utf-8")
    output = tmp_path / "cost.json"
    result = CliRunner().invoke(app, ["inspect", str(tmp_path / "recipe.yaml"), "--output", str(output)])
    assert result.exit_code == 0, result.output
    parts = {part["name"]: part for part in json.loads(output.read_text(encoding="utf-8"))["parts"]}
    with quiet_transformers():
        backbone = CLIPVisionModel.from_pretrained(clip)
    projection = 2 * 16 + 16 * 24 + 24  # layer norm and linear layer
    assert parts["encoders.video"]["num_parameters"] == backbone.num_parameters() + projection
    tokens, width, hidden = 5, 16, 32  # 2 x 2 patches and the class token, in 2 layers
    layer = 4 * 2 * tokens * width**2 + 2 * 2 * tokens**2 * width + 2 * 2 * tokens * width * hidden
    patches = 2 * 4 * width * 3 * 16**2
    assert parts["encoders.video"]["flops"] == 2 * (2 * layer + patches + 2 * width * 24)
    assert parts["encoders.text"]["flops"] > 0
    assert parts["encoders.audio"]["flops"] > 0
