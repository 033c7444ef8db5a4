"""From a checkpoint and a manifest to the page, in one call."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from handler.pipeline import ActivityPipeline
from training.evaluate import evaluate
from training.manifest import Split, read_ceilings
from training.report.history import read_curves
from training.report.page import write_report


def report_checkpoint(
    folder: Path,
    checkpoint: Path,
    manifest: Path,
    *,
    split: Split | None = "val",
    progress: Callable[[str, int, int], None] | None = None,
) -> Path:
    """Measure a checkpoint and write ``report.html`` and ``report.png``.

    Args:
        folder: where to; made where it is missing.
        checkpoint: the checkpoint's folder, with the training's history where it has one.
        manifest: the data.
        split: of its entries these only; None is all.
        progress: called with the step's name, the clips done and the clips in all.

    Returns:
        The page.

    Raises:
        SettingsError: when the folder is no checkpoint, does not have the manifest's labels, or the split is empty.
        ManifestError: when the manifest cannot be read, or a clip does not decode.
    """
    pipeline = ActivityPipeline.from_checkpoint(checkpoint)
    result = evaluate(pipeline, manifest, split=split, ceilings=read_ceilings(manifest), progress=progress)
    return write_report(folder, result, read_curves(checkpoint))
