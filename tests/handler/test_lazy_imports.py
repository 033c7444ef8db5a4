"""A worker loads what pretrained models need only where its model has such a part: it takes seconds and memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[2]

ANSWER = """
import sys
from pathlib import Path
from handler.pipeline import ActivityPipeline
pipeline = ActivityPipeline.from_checkpoint(Path(sys.argv[1]))
(response,) = pipeline.respond([{"text": "stir the soup"}], ["request"])
assert response.status == 200, response.body
print(sorted({"transformers", "peft", "faiss", "huggingface_hub", "lightning", "pyarrow"} & set(sys.modules)))
"""


def test_the_demos_pipeline_imports_nothing_of_pretrained_models() -> None:
    command = [sys.executable, "-c", ANSWER, str(PROJECT / "model-store" / "demo")]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
