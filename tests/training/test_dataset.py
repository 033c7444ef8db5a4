"""Training data: targets by a window's centre, runs by seed and epoch, and the tensors that are served."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from handler.clip import Clip, ModalityStatus
from handler.decode import decode_request
from handler.limits import Limits
from handler.transform import Transforms
from handler.windows import Schedule, Span, build_schedule
from models.config import Modality, ModelConfig, WindowConfig
from models.settings import SettingsError
from models.tokenizer import train_tokenizer
from tests.training.clips import TINY
from training.dataset import (
    LabelledClip,
    RunBatch,
    RunDataset,
    check_truth,
    decode_entries,
    read_request,
    stack_runs,
    unusable_parts,
    window_targets,
)
from training.manifest import LabelledSegment, ManifestEntry, ManifestError

TOKENIZER = train_tokenizer(["hello there", "good bye"] * 2, 96)
TRANSFORMS = Transforms(TINY, TOKENIZER)


def segments(*spans: tuple[float, float, str]) -> tuple[LabelledSegment, ...]:
    return tuple(LabelledSegment(*span) for span in spans)


def make_entry(*spans: tuple[float, float, str]) -> ManifestEntry:
    return ManifestEntry(Path("some/x.mp4"), None, None, segments(*spans))


def make_clip(num_hops: int, config: ModelConfig = TINY, *, seed: int = 0) -> LabelledClip:
    """A clip of random values with one activity from its start to its stop."""
    rng = np.random.default_rng(seed)
    schedule = build_schedule(Span(1.0, 1.0 + num_hops * config.windows.stride_seconds), config.windows)
    assert schedule.num_hops == num_hops
    assert config.video is not None
    assert config.audio is not None
    video = (num_hops, config.video.frames_per_hop, 3, config.video.size, config.video.size)
    samples = (num_hops, config.hop_samples + config.audio.n_fft - config.audio.hop_length)
    clip = Clip(
        schedule,
        {name: ModalityStatus(used=True) for name in config.modalities},
        frames=rng.integers(0, 256, video, dtype=np.uint8),
        samples=rng.standard_normal(samples, dtype=np.float32),
        texts=tuple(f"hello {hop}" for hop in range(num_hops)),
        masks={name: np.ones(num_hops, dtype=np.bool_) for name in config.modalities},
    )
    return LabelledClip(make_entry((1.0, schedule.span.stop_seconds, config.labels[2])), clip)


def without(labelled: LabelledClip, *absent: Modality) -> LabelledClip:
    """The clip as decode gives it when these modalities are not there."""
    clip = labelled.clip
    gone = replace(
        clip,
        frames=None if "video" in absent else clip.frames,
        samples=None if "audio" in absent else clip.samples,
        texts=None if "text" in absent else clip.texts,
        masks={name: mask for name, mask in clip.masks.items() if name not in absent},
    )
    return replace(labelled, clip=gone)


# --- targets ----------------------------------------------------------------------------------------------------


def schedule_of(start_seconds: float, stop_seconds: float) -> Schedule:
    """Hops of 0.5 s, windows of 2 s."""
    return build_schedule(Span(start_seconds, stop_seconds), WindowConfig(stride_seconds=0.5, hops=4))


def test_a_window_has_the_label_at_its_centre() -> None:
    # Windows start at 10, 10.5, 11, 11.5, 12: their centres are 11, 11.5, 12, 12.5, 13.
    truth = segments((10.0, 11.5, "a"), (11.5, 12.5, "b"), (13.0, 14.0, "a"))
    targets = window_targets(truth, schedule_of(10.0, 14.0), ["b", "a"])
    assert targets.dtype == np.float32
    assert targets.tolist() == [[0, 1], [1, 0], [1, 0], [0, 0], [0, 1]]


def test_overlapping_activities_are_both_there() -> None:
    truth = segments((0.0, 2.0, "a"), (1.5, 9.0, "b"))
    assert window_targets(truth, schedule_of(0.0, 4.0), ["a", "b", "c"]).tolist() == [
        [1, 0, 0],
        [1, 1, 0],
        [0, 1, 0],
        [0, 1, 0],
        [0, 1, 0],
    ]


def test_a_clip_shorter_than_a_window_is_labelled_at_its_own_centre() -> None:
    """The window's centre, at 6 s, lies behind this clip's end."""
    schedule = schedule_of(5.0, 5.9)
    assert (schedule.num_hops, schedule.num_windows) == (2, 1)
    truth = segments((5.0, 5.4, "a"), (5.4, 5.9, "b"))
    assert window_targets(truth, schedule, ["a", "b"]).tolist() == [[0, 1]]


@pytest.mark.parametrize(
    ("spans", "message"),
    [
        ([(0.0, 1.0, "z"), (1.0, 2.0, "y")], r"does not have: y, z\. Known labels: wave_rise_greet, "),
        (
            [(0.0, 2.0, TINY.labels[0]), (1.5, 3.0, TINY.labels[1])],
            r"^x\.mp4 has wave_rise_greet and wave_rise_leave at once, from 1\.5 s: .* multi_label\.$",
        ),
    ],
)
def test_a_truth_that_a_model_cannot_tell(spans: list[tuple[float, float, str]], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        check_truth([make_entry((0.0, 1.0, TINY.labels[0])), make_entry(*spans)], TINY)


def test_a_multi_label_model_may_learn_from_overlaps() -> None:
    head = TINY.head.model_copy(update={"task": "multi_label"})
    overlapping = make_entry((0.0, 2.0, TINY.labels[0]), (1.5, 3.0, TINY.labels[1]))
    check_truth([overlapping], TINY.model_copy(update={"head": head}))


# --- decode -----------------------------------------------------------------------------------------------------


def test_clips_are_decoded_as_they_are_served(tiny_clips: list[LabelledClip]) -> None:
    calls: list[tuple[int, int]] = []
    entries = [tiny_clips[1].entry, tiny_clips[0].entry]
    decoded = decode_entries(entries, TINY, jobs=2, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 2), (2, 2)]
    assert [labelled.entry for labelled in decoded] == entries
    served = decode_request(read_request(entries[0]), TINY, Limits())
    assert decoded[0].clip.schedule == served.schedule
    assert decoded[0].clip.texts == served.texts
    for one, other in ((decoded[0].clip.frames, served.frames), (decoded[0].clip.samples, served.samples)):
        assert one is not None
        assert other is not None
        np.testing.assert_array_equal(one, other)
    assert list(decoded[0].clip.masks) == ["video", "audio", "text"]


def test_the_clip_that_does_not_decode_is_named(tiny_clips: list[LabelledClip], tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no container")
    entries = [tiny_clips[0].entry, replace(make_entry((0.0, 1.0, "a")), clip=broken)]
    with pytest.raises(ManifestError, match=r"^broken\.mp4 cannot be used: "):
        decode_entries(entries, TINY, jobs=1)


def test_parts_in_files_of_their_own_are_read(tmp_path: Path) -> None:
    for name in ("v", "a", "t"):
        (tmp_path / name).write_bytes(name.encode())
    entry = ManifestEntry(tmp_path / "v", tmp_path / "t", tmp_path / "a", segments((0.0, 1.0, "a")))
    request = read_request(entry)
    assert (request.video, request.audio, request.text) == (b"v", b"a", b"t")
    alone = read_request(replace(entry, text=None, audio=None))
    assert (alone.video, alone.audio, alone.text) == (b"v", None, None)


# --- runs -------------------------------------------------------------------------------------------------------


def test_each_epoch_has_as_many_runs_of_a_clip_as_fit_into_it() -> None:
    dataset = RunDataset([make_clip(12), make_clip(4), make_clip(5), make_clip(2)], TRANSFORMS, hops_per_run=5, seed=3)
    for epoch in range(20):
        dataset.set_epoch(epoch)
        assert Counter(clip for clip, _ in dataset.runs) == {0: 2, 1: 1, 2: 1, 3: 1}
        assert all(0 <= first <= (7 if clip == 0 else 0) for clip, first in dataset.runs)
        assert len(dataset) == 5


def test_every_first_hop_is_drawn() -> None:
    dataset = RunDataset([make_clip(8)], TRANSFORMS, hops_per_run=5, seed=0)
    drawn = set()
    for epoch in range(64):
        dataset.set_epoch(epoch)
        drawn |= {first for _, first in dataset.runs}
    assert drawn == {0, 1, 2, 3}  # missing one of them: a chance of 4 * 0.75 ** 64, 4e-8


def test_runs_are_a_function_of_seed_and_epoch_alone() -> None:
    clips = [make_clip(12, seed=seed) for seed in range(6)]
    one, other = (RunDataset(clips, TRANSFORMS, hops_per_run=5, seed=7) for _ in range(2))
    assert one.runs == other.runs
    first = list(one.runs)
    for epoch in range(4):
        one.set_epoch(epoch)
    other.set_epoch(3)  # without the ones before
    assert one.runs == other.runs != first
    one.set_epoch(0)
    assert one.runs == first
    assert RunDataset(clips, TRANSFORMS, hops_per_run=5, seed=8).runs != first


def test_a_run_holds_what_is_served(tiny_clips: list[LabelledClip]) -> None:
    dataset = RunDataset(tiny_clips, TRANSFORMS, hops_per_run=6, seed=1)
    for index, (clip_index, first) in enumerate(dataset.runs):
        labelled, run = tiny_clips[clip_index], dataset[index]
        clip, hops, windows = labelled.clip, slice(first, first + 6), slice(first, first + 3)
        assert clip.frames is not None
        assert clip.samples is not None
        assert clip.texts is not None
        assert clip.schedule.num_hops >= first + 6
        np.testing.assert_array_equal(run.inputs["video"][0], clip.frames[hops])
        np.testing.assert_array_equal(run.inputs["audio"][0], clip.samples[hops])
        token_ids, token_mask = TRANSFORMS.text(clip.texts[hops])
        torch.testing.assert_close(run.inputs["text"], (token_ids, token_mask), rtol=0, atol=0)
        assert run.clips == clip_index
        np.testing.assert_array_equal(run.masks, np.stack([clip.masks[name][hops] for name in TINY.modalities]))
        targets = window_targets(labelled.entry.segments, clip.schedule, TINY.labels)
        np.testing.assert_array_equal(run.targets, targets[windows])
        assert run.inside.tolist() == [True, True, True]


def test_a_short_clip_is_padded_and_masked() -> None:
    labelled = make_clip(2)
    dataset = RunDataset([labelled], TRANSFORMS, hops_per_run=6, seed=0)
    run = dataset[0]
    assert run.masks.tolist() == [[True, True, False, False, False, False]] * 3
    assert run.inside.tolist() == [True, False, False]
    assert run.targets.argmax(dim=1)[0] == 2
    assert run.targets.sum(dim=1).tolist() == [1.0, 0.0, 0.0]
    assert labelled.clip.frames is not None
    np.testing.assert_array_equal(run.inputs["video"][0], labelled.clip.frames[[0, 1, 1, 1, 1, 1]])
    assert run.inputs["audio"][0].shape == (6, 8240)
    assert [tensor.shape for tensor in run.inputs["text"]] == [(6, 64), (6, 64)]
    # The padding belongs to the run: the clip's own truth is as it was.
    assert dataset.targets[0].sum() == 1.0


def tensors_of(run: RunBatch) -> list[torch.Tensor]:
    return [*(tensor for tensors in run.inputs.values() for tensor in tensors), *run[1:]]


def shapes_of(run: RunBatch) -> list[tuple[int, ...]]:
    return [tuple(tensor.shape) for tensor in tensors_of(run)]


@pytest.mark.parametrize("absent", [("video",), ("audio", "text"), ("video", "audio", "text")])
def test_a_modality_that_a_clip_lacks_is_zero_and_masked(absent: tuple[Modality, ...]) -> None:
    labelled = make_clip(6)
    whole = RunDataset([labelled], TRANSFORMS, hops_per_run=6, seed=0)[0]
    run = RunDataset([without(labelled, *absent)], TRANSFORMS, hops_per_run=6, seed=0)[0]
    assert run.masks.any(dim=1).tolist() == [name not in absent for name in TINY.modalities]
    assert shapes_of(run) == shapes_of(whole)
    assert bool(run.inputs["video"][0].any()) == ("video" not in absent)
    assert bool(run.inputs["audio"][0].any()) == ("audio" not in absent)
    assert shapes_of(stack_runs([run, whole])) == [(2, *shape) for shape in shapes_of(whole)]


@pytest.mark.parametrize("missing", ["video", "audio", "text"])
def test_a_model_without_a_modality_gets_none_of_it(missing: Modality) -> None:
    config = TINY.model_copy(update={missing: None})
    labelled = make_clip(5)
    transforms = Transforms(config, None if missing == "text" else TOKENIZER)
    run = RunDataset([without(labelled, missing)], transforms, hops_per_run=5, seed=0)[0]
    assert list(run.inputs) == [name for name in TINY.modalities if name != missing]
    assert run.masks.shape == (2, 5)


def test_a_run_must_hold_a_window() -> None:
    with pytest.raises(ValueError, match="a run of 3 hops holds no window of 4"):
        RunDataset([make_clip(8)], TRANSFORMS, hops_per_run=3, seed=0)


def test_runs_are_stacked_field_by_field() -> None:
    dataset = RunDataset([make_clip(6, seed=0), make_clip(6, seed=1)], TRANSFORMS, hops_per_run=5, seed=0)
    runs = [dataset[0], dataset[1]]
    stacked = stack_runs(runs)
    assert isinstance(stacked, RunBatch)
    for together, alone in zip(tensors_of(stacked), tensors_of(runs[1]), strict=True):
        torch.testing.assert_close(together[1], alone, rtol=0, atol=0)


def test_parts_that_cannot_be_used_are_told_with_the_first_clip() -> None:
    """A training that goes on without them would otherwise leave the modality out in silence."""
    whole = make_clip(4)
    broken = {
        "video": ModalityStatus(used=False, code="not_sent", reason="not sent"),
        "audio": ModalityStatus(used=False, code="undecodable_media", reason="the sound ends"),
    }
    clips = [whole, *(replace(whole, clip=replace(whole.clip, modalities=broken)) for _ in range(2))]
    (message,) = unusable_parts(clips)
    assert message == (
        f"audio cannot be used in 2 of 3 clips and is left out there. The first, {whole.entry.name}: the sound ends"
    )
    assert unusable_parts([whole]) == []
