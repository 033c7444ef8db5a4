"""A tiny model whose pretrained encoders of picture and sound see whole windows."""

from __future__ import annotations

from pathlib import Path

from models.config import ModelConfig
from models.model import ActivityModel, build_model
from models.pretrained.resolve import load_pretrained, resolve_pretrained
from models.pretrained.weights import quiet_transformers
from tests.models.tiny import TINY
from tests.pretrained_factory import tiny_ast, tiny_videomae
from training.recipe import Recipe


def whole_window_model(folder: Path) -> tuple[ActivityModel, ModelConfig]:
    """The model, for use, and its settings; its encoders come from checkpoints that are written to ``folder``."""
    with quiet_transformers():
        folders = {"video": tiny_videomae(folder / "videomae"), "audio": tiny_ast(folder / "ast")}
    sections = {
        name: {"encoder": "pretrained", "pretrained": {"source": str(source), "span": "window"}}
        for name, source in folders.items()
    }
    values = {**TINY.model_dump(), **sections, "text": None}
    config = resolve_pretrained(Recipe.read({"name": "tiny", "model": values}, source="test").model)
    model = build_model(config).eval()
    load_pretrained(model, config)
    return model, config
