"""Splits and folds that never tear a group apart: what one speaker, recording or source gave stays together.

A window or a clip whose neighbour was learned from is no held-out one. Labels are spread as evenly as the groups allow
(after iterative stratification, Sechidis et al. 2011).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar, cast

import numpy as np

from models.settings import SettingsError
from training.manifest import ManifestEntry, Split, read_manifest

Part = TypeVar("Part", bound="str | int")


def deal_groups(entries: Sequence[ManifestEntry], shares: Mapping[Part, float], seed: int) -> list[Part]:
    """Deal clips to parts, groups whole.

    Large groups are dealt first, each to the part that lacks its labels most. Every part gets a group.

    Args:
        entries: the clips.
        shares: of the clips, by part; above 0, and 1 together.
        seed: another one deals otherwise.

    Returns:
        The part of each entry.

    Raises:
        SettingsError: when there are fewer groups than parts.
    """
    groups: dict[str | int, list[int]] = {}
    for index, entry in enumerate(entries):
        groups.setdefault(index if entry.group is None else entry.group, []).append(index)
    if len(groups) < len(shares):
        raise SettingsError(f"{len(groups)} groups of clips cannot be dealt to {len(shares)} parts")
    members = list(groups.values())
    order = np.random.default_rng(seed).permutation(len(members))
    ordered = sorted((members[i] for i in order), key=len, reverse=True)
    labels = [Counter(label for index in group for label in entries[index].labels) for group in ordered]
    total = Counter(label for group in labels for label in group.elements())
    wanted = {part: {label: share * count for label, count in total.items()} for part, share in shares.items()}
    clips = {part: share * len(entries) for part, share in shares.items()}
    dealt: dict[Part, list[int]] = {part: [] for part in shares}
    for number, (group, counts) in enumerate(zip(ordered, labels, strict=True)):
        empty = [part for part, held in dealt.items() if not held]
        among = empty if len(ordered) - number <= len(empty) else list(shares)
        part = max(among, key=lambda name: (sum(wanted[name][label] for label in counts), clips[name]))
        dealt[part].extend(group)
        clips[part] -= len(group)
        for label, count in counts.items():
            wanted[part][label] -= count
    parts = {index: part for part, indexes in dealt.items() for index in indexes}
    return [parts[index] for index in range(len(entries))]


def split_entries(entries: Sequence[ManifestEntry], *, val: float, test: float, seed: int) -> list[ManifestEntry]:
    """Deal clips to ``train``, ``val`` and ``test`` by group, whatever split they had.

    Args:
        entries: the clips.
        val: share of the clips of split ``val``, in [0, 1).
        test: share of the clips of split ``test``, in [0, 1).
        seed: another one deals otherwise.

    Raises:
        SettingsError: when the shares leave nothing to learn from, or there are fewer groups than splits.
    """
    if val + test >= 1.0:
        raise SettingsError(f"val {val:g} and test {test:g} leave nothing to learn from: together they must be below 1")
    shares = {"train": 1.0 - val - test, "val": val, "test": test}
    parts = deal_groups(entries, {part: share for part, share in shares.items() if share > 0}, seed)
    return [replace(entry, split=cast("Split", part)) for entry, part in zip(entries, parts, strict=True)]


def write_split(manifest: Path, output: Path, *, val: float, test: float, seed: int) -> list[ManifestEntry]:
    """Write a manifest again with other splits; nothing else of a line changes.

    Raises:
        SettingsError: see :func:`split_entries`; and when ``output`` lies in another folder, from where the files'
            names would lead elsewhere.
        ManifestError: when the manifest cannot be read.
    """
    if output.resolve().parent != manifest.resolve().parent:
        raise SettingsError(f"{output} must lie beside {manifest}: its files are named from there")
    entries = split_entries(read_manifest(manifest), val=val, test=test, seed=seed)
    lines = [json.loads(line) for line in manifest.read_text(encoding="utf-8").split("\n") if line.strip()]
    texts = [
        json.dumps({**line, "split": entry.split}, ensure_ascii=False)
        for line, entry in zip(lines, entries, strict=True)
    ]
    partial = output.with_name(output.name + ".partial")
    partial.write_text("".join(text + "\n" for text in texts), encoding="utf-8")
    partial.replace(output)
    return entries


def deal_folds(
    entries: Sequence[ManifestEntry], *, num_folds: int, val: float, seed: int
) -> dict[int, list[ManifestEntry]]:
    """The folds of a cross-validation: in each, one part of the clips is ``test``, the rest ``train`` and ``val``.

    Args:
        entries: the clips. Where each has a ``fold``, these are the folds; else the groups are dealt.
        num_folds: how many, where they are dealt.
        val: share of the clips that are not ``test`` that are ``val``, by group, in (0, 1).
        seed: of the dealing.

    Returns:
        By fold, from the smallest number on, all entries with their split.

    Raises:
        SettingsError: when only some clips have a fold, or there are too few folds or groups.
    """
    given = [entry.fold for entry in entries]
    if any(fold is None for fold in given) and any(fold is not None for fold in given):
        raise SettingsError("some clips of the manifest have a fold and some have none")
    if given[0] is None:
        parts = deal_groups(entries, dict.fromkeys(range(1, num_folds + 1), 1.0 / num_folds), seed)
    else:
        parts = [fold for fold in given if fold is not None]
    if len(set(parts)) < 2:
        raise SettingsError("a cross-validation needs at least two folds")
    _check_apart(entries, parts)
    folds = {}
    for fold in sorted(set(parts)):
        rest = [entry for entry, part in zip(entries, parts, strict=True) if part != fold]
        test = [replace(entry, split="test") for entry, part in zip(entries, parts, strict=True) if part == fold]
        folds[fold] = [*split_entries(rest, val=val, test=0.0, seed=seed), *test]
    return folds


def _check_apart(entries: Sequence[ManifestEntry], parts: Sequence[int]) -> None:
    """A published fold that shares a group with another one would let the model learn from what it is tested on."""
    seen: dict[str, int] = {}
    for entry, part in zip(entries, parts, strict=True):
        if entry.group is not None and seen.setdefault(entry.group, part) != part:
            raise SettingsError(f"group {entry.group!r} is in fold {seen[entry.group]} and in fold {part}")
