from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field

import av
import numpy as np
import pytest

from benchmarks.hostile.chunks import find_chunks
from benchmarks.hostile.files import media_files, picture_files, uncovered
from benchmarks.hostile.mutators import MUTATORS, mutate, with_checksums
from benchmarks.hostile.requests import Request, all_seeds
from benchmarks.hostile.targets import Reply, Target, WorkerTarget
from benchmarks.mutants import Case, Findings, attack, make_mutant

SECOND_DECODERS = {"av1", "libvpx", "libvpx-vp9", "libopus", "libopencore_amrnb", "libopencore_amrwb"} | {
    "libdav1d",
    *("mp3", "mp1", "mp2", "mp3float", "mp1float", "mp2float"),
}
"""Of what other decoders are chosen for."""


def test_every_container_and_codec_that_is_allowed_has_a_file() -> None:
    missing = uncovered()
    assert missing["containers"] == set()
    assert missing["codecs"] <= SECOND_DECODERS
    assert (media_files()[1], picture_files()[1]) == ((), ())
    assert max(len(seed.content) for seed in all_seeds()) < 48_000


def test_a_mutant_is_made_again_by_its_number() -> None:
    seeds = all_seeds()
    first = [make_mutant(seeds, 7, number)[0] for number in range(50)]
    assert first == [make_mutant(seeds, 7, number)[0] for number in range(50)]
    assert len({repr(case.request) for case in first}) > 45
    assert first != [make_mutant(seeds, 8, number)[0] for number in range(50)]


@pytest.mark.parametrize("name", ["mp4, h264", "matroska, h264", "avi, mpeg4", "ogg, opus", "flv, flv", "asf, wmv1"])
def test_the_chunks_of_a_file_are_found_and_spoilt(name: str) -> None:
    (content,) = (seed.content for seed in all_seeds() if seed.name == name)
    chunks = find_chunks(content)
    assert len(chunks) >= 3
    assert all(0 <= chunk.start <= chunk.body <= chunk.stop <= len(content) for chunk in chunks)
    for number, mutator in enumerate(MUTATORS):
        random = np.random.default_rng(number)
        tries = [bytes(mutator(bytearray(content), random, [b"RIFF" * 9])) for _ in range(5)]
        assert any(each != content for each in tries), mutator.__name__
        assert all(len(each) < len(content) + 80_000 for each in tries)


def test_checksums_are_made_right_again() -> None:
    (ogg,) = (seed.content for seed in all_seeds() if seed.name == "ogg, opus")
    assert with_checksums(bytearray(ogg)) == ogg
    spoilt = ogg.replace(b"OpusTags", b"OpusTagz")
    assert with_checksums(bytearray(spoilt)) != spoilt
    (png,) = (seed.content for seed in all_seeds() if seed.name == "picture, png")
    assert with_checksums(bytearray(png)) == png


def test_mutants_reach_the_decoders() -> None:
    seeds, opened = media_files()[0], 0
    others = [seed.content for seed in seeds]
    for number, seed in enumerate(seeds):
        try:
            av.open(io.BytesIO(mutate(seed.content, np.random.default_rng(number), others))).close()
        except Exception:  # noqa: BLE001, S112 - most ways to fail are FFmpeg's
            continue
        opened += 1
    assert opened > len(seeds) / 3


@dataclass
class Odd:
    """A target that answers as it is told."""

    replies: list[Reply]
    pids: list[int] = field(default_factory=lambda: [1])
    batch_size: int = 4

    def worker_pid(self) -> int:
        return self.pids.pop(0) if len(self.pids) > 1 else self.pids[0]

    def ask(self, requests: Sequence[Request]) -> list[Reply]:
        return [self.replies[place % len(self.replies)] for place in range(len(requests))]


@pytest.mark.parametrize(
    ("reply", "is_broken"),
    [
        (Reply(200, b"{}"), False),
        (Reply(422, b'{"code": "undecodable_media"}'), False),
        (Reply(500, b'{"code": "internal_error"}'), True),
        (Reply(503, b'{"code": 503}'), True),
        (Reply(413, b""), True),
        (Reply(0, b""), True),
    ],
)
def test_an_answer_without_a_code_and_one_of_the_server_s_faults_are_seen(reply: Reply, is_broken: bool) -> None:
    target: Target = Odd([reply])
    findings = attack(target, iter([Case("one", {})]), 1)
    assert bool(findings.faults) is is_broken


def test_deaths_and_hangs_and_memory_are_seen() -> None:
    findings = attack(Odd([Reply(0, b"")], pids=[1, 1, 2]), iter([Case("one", {})]), 1)
    assert findings.worker_deaths == 1
    slow = Findings()
    slow.note([Case("one", {})], [Reply(200, b"{}")], 10.1)
    assert slow.broken == ["10.1 s: one"]
    assert Findings(idle_megabytes=100.0, peak_megabytes=251.0).broken == ["memory rose by 151 MB"]


def test_some_mutants_do_no_harm(worker: WorkerTarget) -> None:
    seeds = all_seeds()
    cases = (make_mutant(seeds, 0, number)[0] for number in range(300))
    findings = attack(worker, cases, 300, turns=0)
    assert findings.broken == []
    assert (findings.num_requests, findings.crashes) == (300, [])
    assert findings.codes["200"] > 10
    assert sum(findings.codes.values()) - findings.codes["200"] > 10
