"""Whether an archive may be served: a ``.mar`` is code, and TorchServe unpacks and runs whatever it is given.

Two questions, both answered before TorchServe sees the file:

- Is it the one that was packaged? Its SHA-256 stands in a file beside it (``activity.mar.sha256``, as ``sha256sum``
  writes and checks it), or is given with ``--sha256`` by who got it from elsewhere.
- Does it stay in its folder and its size? TorchServe unpacks an archive front to back by the header before each entry
  and never reads the directory at the end, so each header has to say what the directory says, with nothing in between.
"""

from __future__ import annotations

import hashlib
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from cli.errors import CommandError

SUM_SUFFIX = ".sha256"
SHA256 = re.compile(r"[0-9a-f]{64}")
MAX_SUM_BYTES = 4096
MANIFEST = "MAR-INF/MANIFEST.json"

MAX_ENTRIES = 10_000
MAX_GROWTH = 20
"""Weights do not compress; code and text do, by about five."""
FREE_GROWTH_BYTES = 64 * 1024 * 1024
"""What an archive may grow by in any case."""
PIECE_BYTES = 1024 * 1024

LOCAL_HEADER = struct.Struct("<4s5H3L2H")
"""Signature, version, flags, method, time, date, CRC, packed and unpacked size, lengths of name and extra field."""
LOCAL_SIGNATURE = b"PK\x03\x04"
IN_EXTRA_FIELD = 0xFFFFFFFF
ENCRYPTED, SIZES_BEHIND = 0x1, 0x8
UNREADABLE_NAME = re.compile(r"[\x00-\x1f\x7f\\]|^[A-Za-z]:")
ORDINARY = (0, stat.S_IFREG, stat.S_IFDIR)

REMEDY = "Build it again with `activity package`. An archive is code: serve none whose maker you do not know."


@dataclass(frozen=True)
class _Header:
    """What stands before an entry, of which TorchServe unpacks it."""

    method: int
    flags: int
    packed: int
    """Bytes in the archive."""
    unpacked: int
    name: bytes
    begin: int
    """Where its bytes begin."""


def sum_path(archive: Path) -> Path:
    """The file that holds an archive's SHA-256."""
    return archive.with_name(archive.name + SUM_SUFFIX)


def write_sum(archive: Path, sha256: str) -> None:
    """Write an archive's SHA-256 beside it, so that ``sha256sum -c`` checks it from its folder."""
    draft = sum_path(archive).with_name(f".{archive.name}{SUM_SUFFIX}.tmp")
    draft.write_text(f"{sha256}  {archive.name}\n", encoding="utf-8")
    draft.replace(sum_path(archive))


def digest_of(archive: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with archive.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_archive(archive: Path, *, sha256: str | None = None) -> str:
    """Check that an archive is the one that was packaged and that nothing in it leaves its folder or its size.

    Args:
        archive: the ``.mar``.
        sha256: its digest as its maker told it; None is what the file beside it says.

    Returns:
        Its SHA-256.

    Raises:
        CommandError: it is none, changed, unsigned, or not to be unpacked.
    """
    try:
        expected = _read_sum(archive) if sha256 is None else _parse_sum(sha256, "--sha256")
        found = digest_of(archive)
    except OSError as exc:
        raise CommandError(f"{archive} cannot be read: {exc.strerror}.", remedy="Check the path.") from exc
    if found != expected:
        said = f"{sum_path(archive).name} says" if sha256 is None else "--sha256 says"
        raise CommandError(
            f"{archive} is not the archive that was packaged: its SHA-256 is {found}, {said} {expected}. "
            "It was changed or copied in part; nothing of it was loaded.",
            remedy="Copy it and its .sha256 again from where they were made, or build it again: `activity package`.",
        )
    _check_entries(archive)
    return found


def _read_sum(archive: Path) -> str:
    path = sum_path(archive)
    try:
        with path.open("rb") as file:
            text = file.read(MAX_SUM_BYTES)
    except FileNotFoundError as exc:
        raise CommandError(
            f"{archive} has no {path.name} beside it: nothing says that it is the archive that was packaged.",
            remedy="Build it with `activity package`, which writes both, or copy the file from where it was built; "
            "for an archive from elsewhere give the digest that its maker told you with --sha256.",
        ) from exc
    return _parse_sum(text.decode("utf-8", errors="replace"), str(path))


def _parse_sum(text: str, source: str) -> str:
    first = (text.split() or [""])[0].lower()
    if not SHA256.fullmatch(first):
        raise CommandError(
            f"{source} holds no SHA-256: 64 hexadecimal digits, as `sha256sum FILE.mar` prints them.", remedy=REMEDY
        )
    return first


def _check_entries(archive: Path) -> None:
    try:
        with zipfile.ZipFile(archive) as mar, archive.open("rb") as file:
            entries = sorted(mar.infolist(), key=lambda entry: entry.header_offset)
            fault = _find_fault(entries, file, mar.start_dir)
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, ValueError, OSError) as exc:
        raise CommandError(f"{archive} is no archive.", remedy=REMEDY) from exc
    if fault is not None:
        raise CommandError(f"{archive} is not unpacked: {fault}.", remedy=REMEDY)


def _find_fault(entries: Sequence[zipfile.ZipInfo], file: IO[bytes], directory: int) -> str | None:
    """What forbids unpacking these entries, in the order of their places; None where nothing does."""
    if len(entries) > MAX_ENTRIES:
        return f"it has {len(entries)} entries, more than {MAX_ENTRIES}"
    fault = _find_name_fault([entry.filename for entry in entries]) or _find_kind_fault(entries)
    if fault is not None:
        return fault
    place = 0
    for entry in entries:
        if entry.header_offset != place:
            break
        header = _read_header(file, place)
        fault = _find_header_fault(entry, header, file)
        if fault is not None:
            return fault
        place = header.begin + header.packed
    return None if place == directory else f"from byte {place} on it has something that its directory does not name"


def _find_name_fault(names: Sequence[str]) -> str | None:
    if MANIFEST not in names:
        return f"it has no {MANIFEST}"
    seen: set[str] = set()
    for name in names:
        path = name.removesuffix("/")
        if UNREADABLE_NAME.search(name):
            return f"the name {name!r} has a character that no entry of an archive has"
        if name.startswith("/") or any(part in {"", ".", ".."} for part in path.split("/")):
            return f"the name {name!r} leads out of its folder"
        if path in seen:
            return f"the name {name!r} stands in it twice"
        seen.add(path)
    files = {name for name in names if not name.endswith("/")}
    for path in seen:
        parents = path.split("/")[:-1]
        if any("/".join(parents[: depth + 1]) in files for depth in range(len(parents))):
            return f"a file stands where {path!r} needs a folder"
    return None


def _find_header_fault(entry: zipfile.ZipInfo, header: _Header, file: IO[bytes]) -> str | None:
    """What the header before an entry says otherwise than the directory, and the bytes otherwise than both."""
    if header.flags & (ENCRYPTED | SIZES_BEHIND) or header.method not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        return f"{entry.filename!r} is stored in a way that no archive needs"
    said = (header.name, header.method, header.packed, header.unpacked)
    if said != (entry.orig_filename.encode(), entry.compress_type, entry.compress_size, entry.file_size):
        return f"the header of {entry.filename!r} says something else than the directory"
    if header.method == zipfile.ZIP_STORED:
        return None if header.packed == header.unpacked else f"{entry.filename!r} has another size than it says"
    if _inflated_bytes(file, header) != header.unpacked:
        return f"{entry.filename!r} has another size than it says"
    return None


def _find_kind_fault(entries: Sequence[zipfile.ZipInfo]) -> str | None:
    for entry in entries:
        if stat.S_IFMT(entry.external_attr >> 16) not in ORDINARY:
            return f"{entry.filename!r} is a link or a device"
    packed, unpacked = (sum(getattr(entry, name) for entry in entries) for name in ("compress_size", "file_size"))
    return f"it grows from {packed} to {unpacked} bytes" if unpacked > _most(packed) else None


def _most(packed: int) -> int:
    """To how many bytes so many may grow."""
    return MAX_GROWTH * packed + FREE_GROWTH_BYTES


def _read_header(file: IO[bytes], place: int) -> _Header:
    file.seek(place)
    values = LOCAL_HEADER.unpack(file.read(LOCAL_HEADER.size))
    signature, _, flags, method, *_, packed, unpacked, name_length, extra_length = values
    if signature != LOCAL_SIGNATURE:
        raise zipfile.BadZipFile("no header")
    name, extra = file.read(name_length), file.read(extra_length)
    if IN_EXTRA_FIELD in (packed, unpacked):  # the 64-bit form, which has both
        kind, length, unpacked, packed = struct.unpack("<HHQQ", extra[:20])
        if (kind, length) != (1, 16):
            raise zipfile.BadZipFile("no sizes")
    begin = place + LOCAL_HEADER.size + name_length + extra_length
    return _Header(method, flags, packed, unpacked, name, begin)


def _inflated_bytes(file: IO[bytes], header: _Header) -> int:
    """How many bytes an entry unpacks to, or one more than it says where it goes on."""
    file.seek(header.begin)
    left, made, inflate = header.packed, 0, zlib.decompressobj(-zlib.MAX_WBITS)
    while not inflate.eof and made <= header.unpacked:
        packed = inflate.unconsumed_tail
        if not packed:
            packed = file.read(min(PIECE_BYTES, left))
            left -= len(packed)
        piece = inflate.decompress(packed, min(PIECE_BYTES, header.unpacked + 1 - made))
        if not packed and not piece:
            raise EOFError
        made += len(piece)
    if inflate.eof and (left or inflate.unused_data):
        raise zipfile.BadZipFile("bytes behind the end")
    return made
