"""The rendered clips, once for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.training.clips import decode_tiny, render_tiny
from training.dataset import LabelledClip


@pytest.fixture(scope="package", autouse=True)
def single_thread() -> Iterator[None]:
    """Two threads on busy cores wait for each other at every one of the tiny model's operations."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACTIVITY_THREADS", "1")
        yield
    torch.set_num_threads(num_threads)


@pytest.fixture(scope="session")
def tiny_manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of six short clips; other manifests may be written beside it, and nothing else."""
    return render_tiny(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="session")
def tiny_clips(tiny_manifest: Path) -> list[LabelledClip]:
    """The six clips, decoded for the tiny model."""
    return decode_tiny(tiny_manifest)
