"""Splits and folds: no group on two sides, whatever the groups are."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.settings import SettingsError
from training.manifest import ManifestEntry, read_manifest
from training.splits import deal_folds, deal_groups, split_entries, write_split


def make_entries(groups: list[int | None], labels: list[str] | None = None) -> list[ManifestEntry]:
    return [
        ManifestEntry(
            None,
            None,
            Path(f"{index}.wav"),
            (),
            label="a" if labels is None else labels[index],
            group=None if group is None else f"g{group}",
        )
        for index, group in enumerate(groups)
    ]


GROUPS = st.lists(st.integers(0, 12) | st.none(), min_size=6, max_size=60)


@settings(max_examples=60, deadline=None)
@given(GROUPS, st.floats(0.0, 0.45), st.floats(0.0, 0.45), st.integers(0, 5))
def test_no_group_is_torn_apart_and_no_clip_is_lost(
    groups: list[int | None], val: float, test: float, seed: int
) -> None:
    entries = make_entries(groups)
    wanted = 1 + (val > 0) + (test > 0)
    num_groups = len({group for group in groups if group is not None}) + groups.count(None)
    if num_groups < wanted:
        with pytest.raises(SettingsError, match=f"{num_groups} groups of clips cannot be dealt to {wanted} parts"):
            split_entries(entries, val=val, test=test, seed=seed)
        return
    dealt = split_entries(entries, val=val, test=test, seed=seed)
    assert [replace(entry, split=None) for entry in dealt] == entries
    sides: dict[str, set[str]] = {}
    for entry in dealt:
        if entry.group is not None:
            sides.setdefault(entry.group, set()).add(str(entry.split))
    assert all(len(splits) == 1 for splits in sides.values())
    counts = Counter(str(entry.split) for entry in dealt)
    assert counts.keys() == {"train", *(["val"] if val else []), *(["test"] if test else [])}
    largest = max(Counter(group for group in groups if group is not None).values(), default=1)
    for split, share in (("val", val), ("test", test)):
        assert abs(counts[split] - share * len(entries)) <= 2 * largest
    assert split_entries(entries, val=val, test=test, seed=seed) == dealt


def test_labels_are_spread_evenly() -> None:
    labels = [f"l{index % 10}" for index in range(320)]
    parts = deal_groups(make_entries([index // 2 * 10 + index % 10 for index in range(320)], labels), SHARES, 3)
    for part, share in SHARES.items():
        counts = Counter(label for label, name in zip(labels, parts, strict=True) if name == part)
        assert all(abs(counts[label] - 32 * share) <= 2 for label in set(labels))


SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}


def test_another_seed_deals_otherwise() -> None:
    entries = make_entries([None] * 40)
    one, other = (split_entries(entries, val=0.25, test=0.0, seed=seed) for seed in (0, 1))
    assert one != other
    assert Counter(entry.split for entry in one) == {"train": 30, "val": 10}


def test_something_is_left_to_learn_from() -> None:
    with pytest.raises(SettingsError, match=r"val 0\.5 and test 0\.5 leave nothing"):
        split_entries(make_entries([None] * 9), val=0.5, test=0.5, seed=0)


def test_published_folds_are_kept() -> None:
    entries = [
        replace(entry, fold=1 + index // 10) for index, entry in enumerate(make_entries([i // 2 for i in range(30)]))
    ]
    folds = deal_folds(entries, num_folds=5, val=0.2, seed=0)
    assert list(folds) == [1, 2, 3]
    for fold, dealt in folds.items():
        assert {entry.fold for entry in dealt if entry.split == "test"} == {fold}
        assert Counter(entry.split for entry in dealt) == {"train": 16, "val": 4, "test": 10}
        by_group = {entry.group: entry.split for entry in dealt}
        assert all(by_group[entry.group] == entry.split for entry in dealt)
    torn = [replace(entries[9], fold=2) if index == 9 else entry for index, entry in enumerate(entries)]
    with pytest.raises(SettingsError, match="group 'g4' is in fold 1 and in fold 2"):
        deal_folds(torn, num_folds=5, val=0.2, seed=0)
    with pytest.raises(SettingsError, match="some clips of the manifest have a fold and some have none"):
        deal_folds([replace(entries[0], fold=None), *entries[1:]], num_folds=5, val=0.2, seed=0)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 12) | st.none(), max_size=12), st.integers(2, 4))
def test_dealt_folds_test_each_clip_once(groups: list[int | None], num_folds: int) -> None:
    entries = make_entries([*groups, *range(20, 44)])
    folds = deal_folds(entries, num_folds=num_folds, val=0.2, seed=1)
    assert len(folds) == num_folds
    tested = Counter(entry.name for dealt in folds.values() for entry in dealt if entry.split == "test")
    assert tested == {entry.name: 1 for entry in entries}
    for dealt in folds.values():
        assert {entry.split for entry in dealt} == {"train", "val", "test"}
        test_groups = {entry.group for entry in dealt if entry.split == "test"} - {None}
        assert not test_groups & {entry.group for entry in dealt if entry.split != "test"}


def test_a_manifest_is_written_with_its_lines_as_they_were(tmp_path: Path) -> None:
    lines = [{"audio": "x.wav", "label": "a", "split": "val", "group": f"g{index // 2}"} for index in range(12)]
    (tmp_path / "x.wav").touch()
    manifest = tmp_path / "m.jsonl"
    manifest.write_text("\n".join(json.dumps(line) for line in lines), encoding="utf-8")
    entries = write_split(manifest, tmp_path / "n.jsonl", val=1 / 6, test=1 / 3, seed=0)
    assert read_manifest(tmp_path / "n.jsonl") == entries
    assert Counter(entry.split for entry in entries) == {"train": 6, "val": 2, "test": 4}
    written = [json.loads(line) for line in (tmp_path / "n.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [{**line, "split": "val"} for line in written] == lines
    with pytest.raises(SettingsError, match="must lie beside"):
        write_split(manifest, tmp_path / "sub" / "n.jsonl", val=0.1, test=0.1, seed=0)
