"""A handful of short rendered clips, and the smallest model that can read them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from models.config import HeadConfig, ModelConfig
from models.encoder_config import AudioConfig, TextConfig, VideoConfig
from models.fusion_config import CrossAttentionConfig
from training.dataset import LabelledClip, decode_entries
from training.manifest import ManifestEntry, Split, read_manifest, write_manifest
from training.synth.dealing import Deal
from training.synth.labels import ACTIVITIES, LABELS
from training.synth.render import render_script
from training.synth.script import ContainerName, draw_script

NUM_LEARNED, NUM_HELD = 4, 2
CONTAINERS: tuple[ContainerName, ...] = ("mp4", "webm", "mp4", "mp4", "mp4", "webm")
TINY = ModelConfig(
    width=16,
    dropout=0.1,
    labels=LABELS,
    video=VideoConfig(frames_per_hop=2, size=16, tubelet_frames=1, patch_size=8, depth=1, heads=2),
    audio=AudioConfig(n_mels=16, channels=(4, 8)),
    text=TextConfig(vocab_size=96, max_tokens=64, depth=1, heads=2),
    fusion=CrossAttentionConfig(heads=2),
    head=HeadConfig(hidden=16),
)


def render_tiny(folder: Path) -> Path:
    """Four clips to learn from and two of split ``val``, of two activities and about 5.5 s each; the manifest."""
    entries = []
    for index, container in enumerate(CONTAINERS):
        activities = (ACTIVITIES[index], ACTIVITIES[7 - index])
        script = draw_script((31, index), Deal(activities, (2.7, 2.7)), container=container)
        rendered = render_script(replace(script, width=160, height=120))
        clip, text = folder / f"{index}.{container}", folder / f"{index}.vtt"
        clip.write_bytes(rendered.video)
        text.write_text(rendered.words, encoding="utf-8")
        split: Split = "train" if index < NUM_LEARNED else "val"
        entries.append(ManifestEntry(clip, text, None, rendered.segments, split))
    manifest = folder / "manifest.jsonl"
    write_manifest(manifest, entries)
    return manifest


def decode_tiny(manifest: Path, config: ModelConfig = TINY) -> list[LabelledClip]:
    """All clips of a manifest, decoded for ``config``."""
    return decode_entries(read_manifest(manifest), config, jobs=1)


_DECODED: dict[Path, LabelledClip] = {}


def decode_once(
    entries: Sequence[ManifestEntry],
    config: ModelConfig,
    *,
    jobs: int,
    progress: Callable[[int, int], None] | None = None,
) -> list[LabelledClip]:
    """Decode each clip for the first training only; all of them are of the tiny model's configuration."""
    missing = [entry for entry in entries if entry.clip not in _DECODED]
    for labelled in decode_entries(missing, config, jobs=jobs, progress=progress):
        assert labelled.entry.clip is not None
        _DECODED[labelled.entry.clip] = labelled
    return [replace(_DECODED[entry.clip], entry=entry) for entry in entries if entry.clip is not None]
