"""Coverage-guided noise for what turns a request's bytes into a clip.

    python -m benchmarks.fuzz_decode --seconds 60
    python -m benchmarks.fuzz_decode --seconds 600 --keep

Starts from the seeds of :mod:`benchmarks.mutants` and from the corpus that is kept (``tests/benchmarks/corpus.txt``, a
line of base64 each), and looks for what ends in anything but an answer or a request's own error: an exception, a crash
of a decoder, more than 10 seconds. atheris sees which lines of ``handler/`` a unit reaches; what FFmpeg does with it is
not instrumented, but runs. With ``--keep`` the small units that reached new lines are added to the corpus.
What is found is written to the folder that is said; each such unit becomes a case of a test, made by code.
"""

from __future__ import annotations

import argparse
import base64
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

CORPUS = Path(__file__).parents[1] / "tests" / "benchmarks" / "corpus.txt"
MAX_KEPT_BYTES = 400
"""Of a unit that is kept."""
MAX_CORPUS_BYTES = 64 * 1024

KINDS = ("video", "audio", "image", "depth", "text", "tabular", "imu", "options", "body", "state")
"""Which part a unit is: by its first byte."""

_MOST_SECONDS = 10
_MOST_MEGABYTES = 2048
_MOST_BYTES = 8192


def as_unit(part: str, content: bytes) -> bytes:
    """What the fuzzer is given for a part of a request."""
    return bytes([KINDS.index(part)]) + content


def decode_unit(unit: bytes) -> None:
    """Decode one unit as a request's part; whatever is wrong with it but is said so is no fault."""
    from handler.errors import ActivityError  # noqa: PLC0415 - after atheris has hooked the imports
    from handler.request import parse_request  # noqa: PLC0415
    from handler.stream.token import ModelIdentity, StreamSeal  # noqa: PLC0415

    if not unit:
        return
    part, content = KINDS[unit[0] % len(KINDS)], unit[1:]
    raw: dict[str, Any] = {part: bytearray(content)}
    if part == "options":
        raw["text"] = bytearray(b"WEBVTT\n\n00:00.000 --> 00:02.000\nstir\n")
    config, limits = _settings()
    with suppress(ActivityError):
        if part == "state":
            StreamSeal(bytes(32), ModelIdentity("tiny", "0.1", ""), limits).unseal(content)
            return
        _decode(parse_request(raw, limits, config.vectors))


def _decode(request: Any) -> None:
    from handler.options import resolve_options  # noqa: PLC0415
    from handler.recordings.pieces import ModalityFailed, decode_pieces  # noqa: PLC0415
    from handler.stream.chunk import decode_chunk  # noqa: PLC0415

    config, limits = _settings()
    resolve_options(request.options, config)
    if request.options.chunk is not None:
        decode_chunk(request, request.options.chunk, config, limits, None)
        return
    with suppress(ModalityFailed), decode_pieces(request, config, limits) as opened:
        for _ in opened.pieces:
            pass


def _settings() -> tuple[Any, Any]:
    """A model of all modalities, and limits that keep each unit short."""
    from handler.limits import Limits  # noqa: PLC0415
    from tests.models.every import EVERY  # noqa: PLC0415

    return EVERY, Limits(max_duration_seconds=20.0, max_frame_pixels=200_000, max_image_pixels=200_000, max_frames=500)


def kept_units() -> list[bytes]:
    """The corpus that is kept."""
    return [base64.b64decode(line) for line in CORPUS.read_text(encoding="ascii").split()]


def seed_units() -> list[bytes]:
    """The files that mutants are made of, as far as they are small."""
    from benchmarks.hostile.requests import all_seeds  # noqa: PLC0415

    return [as_unit(seed.part, seed.content) for seed in all_seeds() if len(seed.content) < _MOST_BYTES]


def write_units(folder: Path, units: Iterable[bytes]) -> None:
    """A file for each."""
    for place, unit in enumerate(units):
        (folder / f"{place:06}").write_bytes(unit)


def fuzz(seconds: int, found: Path, *, keep: bool, libfuzzer: Iterable[str] = (), entry: str = "decode_unit") -> int:
    """Run atheris in a process of its own.

    Args:
        seconds: how long.
        found: folder that units which break something are written to.
        keep: add to the corpus.
        libfuzzer: further arguments of libFuzzer.
        entry: the function of this module that is run.

    Returns:
        the exit status: 0 where nothing broke.
    """
    with tempfile.TemporaryDirectory() as folder:
        units, grown = Path(folder, "units"), Path(folder, "grown")
        units.mkdir()
        grown.mkdir()
        write_units(units, [*kept_units(), *seed_units()])
        ours = [sys.executable, "-m", "benchmarks.fuzz_decode", "--entry", entry]
        bounds = [f"-timeout={_MOST_SECONDS}", f"-rss_limit_mb={_MOST_MEGABYTES}", f"-max_len={_MOST_BYTES}"]
        command = [*ours, *bounds, f"-max_total_time={seconds}", f"-artifact_prefix={found}/", "-print_final_stats=1"]
        status = subprocess.run([*command, *libfuzzer, str(grown), str(units)], check=False).returncode  # noqa: S603
        if keep and status == 0:
            keep_units(path.read_bytes() for path in grown.iterdir())
        return status


def keep_units(units: Iterable[bytes]) -> None:
    """Add units to the corpus, the small ones first, as far as there is room."""
    known = kept_units() if CORPUS.is_file() else []
    new = sorted({unit for unit in units if len(unit) <= MAX_KEPT_BYTES} - set(known), key=lambda it: (len(it), it))
    lines = [base64.b64encode(unit).decode("ascii") for unit in (*known, *new) if unit]
    while sum(map(len, lines)) + len(lines) > MAX_CORPUS_BYTES:
        lines.pop()
    CORPUS.write_text("".join(f"{line}\n" for line in lines), encoding="ascii")


def _run(entry: str, arguments: list[str]) -> None:
    """In the process that is fuzzed; does not return."""
    import atheris  # noqa: PLC0415 - of the development extras, on Linux

    with atheris.instrument_imports(include=["handler"]):
        for unit in seed_units():  # what is imported late is imported here
            decode_unit(unit)
    atheris.Setup([sys.argv[0], *arguments], globals()[entry])
    atheris.Fuzz()


def break_on_arrows(unit: bytes) -> None:
    """An entry with a fault in it, which a test plants to see that it is found."""
    decode_unit(unit)
    if b"-->" in unit:
        raise RuntimeError("planted")


def main() -> None:
    """Fuzz; the exit status is 1 when something broke."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--keep", action="store_true", help="add what reaches new lines to the corpus")
    parser.add_argument("--found", type=Path, default=Path.cwd(), help="folder for units that break something")
    parser.add_argument("--entry", help=argparse.SUPPRESS)
    arguments, libfuzzer = parser.parse_known_args()
    if arguments.entry:
        _run(arguments.entry, libfuzzer)
    sys.exit(1 if fuzz(arguments.seconds, arguments.found, keep=arguments.keep, libfuzzer=libfuzzer) else 0)


if __name__ == "__main__":
    main()
