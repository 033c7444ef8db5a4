"""Write the golden answers beside this file: ``python -m tests.golden.generate``.

They change only when the format of an answer does; then the difference between two commits shows what clients will see.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from handler.clip import ModalityStatus
from handler.errors import ActivityError, NoUsableModality
from handler.response import Prediction, WindowScores, render_error, render_prediction
from handler.segments import Activity, Segment
from handler.windows import Span, build_schedule
from models.config import WindowConfig

FOLDER = Path(__file__).parent
MAX_BYTES = 4_096


def example_prediction() -> Prediction:
    """An answer with all extras, a start that is not zero, a label with markup and scores of many digits."""
    schedule = build_schedule(Span(-0.25, 3.375), WindowConfig(stride_seconds=0.5, hops=4))
    windows = schedule.windows_every(2)
    labels = ("clap & wave", "jump")
    scores = np.array([[0.9, 0.1], [2 / 3, 1 / 3], [0.0, 1.0]])
    return Prediction(
        model_name="activity",
        model_version="1.0",
        schedule=schedule,
        modalities={
            "text": ModalityStatus(used=False, code="not_sent", reason="not sent"),
            "audio": ModalityStatus(used=False, code="undecodable_media", reason="the sound does not decode"),
            "video": ModalityStatus(used=True),
        },
        activities=(Activity("clap & wave", 0.5123456789), Activity("jump", 1 / 3)),
        segments=(Segment(-0.25, 1.7512345678, labels[0], 0.78), Segment(1.7512345678, 3.375, labels[1], 2 / 3)),
        windows=WindowScores(windows, labels, scores, scores[::-1]),
        embedding=np.array([0.1, -0.0000001, 1.5], dtype=np.float32),
        timing={"decode_seconds": 0.0123456789, "model_seconds": 0.25},
    )


def example_error() -> ActivityError:
    """An error with details."""
    return NoUsableModality(
        "none of the parts that were sent can be used: video, text",
        remedy="Send at least one of them in another encoding.",
        details={"modalities": {"video": {"used": False, "code": "undecodable_media"}}},
    )


def golden_answers() -> dict[str, bytes]:
    """File name to content."""
    prediction = example_prediction()
    return {
        "answer.json": render_prediction(prediction, "json").body,
        "answer.ndjson": render_prediction(prediction, "ndjson").body,
        "answer.vtt": render_prediction(prediction, "vtt").body,
        "answer.srt": render_prediction(prediction, "srt").body,
        "error.json": render_error(example_error()).body,
    }


def main() -> None:
    """Write all files.

    Raises:
        ValueError: a file is too large to be read by people.
    """
    for name, content in golden_answers().items():
        if len(content) > MAX_BYTES:
            raise ValueError(f"{name} has {len(content)} bytes, at most {MAX_BYTES} are kept")
        (FOLDER / name).write_bytes(content)


if __name__ == "__main__":
    main()
