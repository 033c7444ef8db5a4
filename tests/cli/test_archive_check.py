"""Archives that are changed, unsigned, or leave their folder or their size: each planted by hand, each refused."""

from __future__ import annotations

import io
import stat
import struct
import subprocess
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cli.archive_check import MANIFEST, check_archive, digest_of, sum_path, write_sum
from cli.errors import CommandError
from cli.server import ServeSettings, start_server

ORDINARY = {MANIFEST: b"{}", "activity_handler.py": b"pass\n", "handler/": b"", "handler/clip.py": b"x" * 3000}
LOCAL = b"PK\x03\x04"


def zip_of(entries: Mapping[str, bytes], method: int = zipfile.ZIP_STORED, mode: int = 0o644) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as mar:
        for name, content in entries.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr, entry.compress_type = mode << 16, method
            mar.writestr(entry, content)
    return made.getvalue()


def write(folder: Path, content: bytes) -> Path:
    """An archive with its digest beside it: signed, so that only what is in it can be refused."""
    path = folder / "a.mar"
    path.write_bytes(content)
    write_sum(path, digest_of(path))
    return path


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_ordinary_archive_passes_and_its_sum_is_sha256sums(tmp_path: Path, method: int) -> None:
    archive = write(tmp_path, zip_of(ORDINARY, method))
    assert check_archive(archive) == digest_of(archive)
    done = subprocess.run(["sha256sum", "-c", sum_path(archive).name], cwd=tmp_path, check=False)
    assert done.returncode == 0


def test_one_of_the_64_bit_form_passes(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.mar", "w") as mar:
        mar.writestr(MANIFEST, "{}")
        with mar.open("model.safetensors", "w", force_zip64=True) as weights:
            weights.write(b"w" * 100)
    write_sum(tmp_path / "a.mar", digest_of(tmp_path / "a.mar"))
    check_archive(tmp_path / "a.mar")


def test_a_changed_byte_is_seen(tmp_path: Path) -> None:
    archive = write(tmp_path, zip_of(ORDINARY))
    changed = bytearray(archive.read_bytes())
    changed[len(changed) // 2] ^= 1
    archive.write_bytes(changed)
    with pytest.raises(CommandError, match="not the archive that was packaged") as caught:
        check_archive(archive)
    assert "activity package" in caught.value.remedy
    check_archive(archive, sha256=digest_of(archive))
    with pytest.raises(CommandError, match="--sha256 says 0000"):
        check_archive(archive, sha256="0" * 64)


@pytest.mark.parametrize(
    ("text", "message"),
    [(None, r"has no a\.mar\.sha256 beside it"), ("", "holds no SHA-256"), ("abc  a.mar", "holds no SHA-256")],
)
def test_an_unsigned_one_is_refused_before_anything_starts(tmp_path: Path, text: str | None, message: str) -> None:
    archive = write(tmp_path, zip_of(ORDINARY))
    sum_path(archive).unlink()
    if text is not None:
        sum_path(archive).write_text(text)
    with pytest.raises(CommandError, match=message) as caught:
        start_server(ServeSettings(archive=archive, run_dir=tmp_path / "run"))
    assert "activity package" in caught.value.remedy
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "name",
    [
        "/etc/cron.d/x",
        "../x",
        "a/../../x",
        "a/..",
        "./x",
        "a//b",
        "..\\x",
        "C:x",
        "a\nb",
        "a\x1b[31m",
        "handler/clip.py/x",
    ],
)
def test_names_that_lead_elsewhere(tmp_path: Path, name: str) -> None:
    archive = write(tmp_path, zip_of({**ORDINARY, name: b"x"}))
    with pytest.raises(CommandError, match="is not unpacked: ") as caught:
        check_archive(archive)
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK])
def test_links_and_devices(tmp_path: Path, kind: int) -> None:
    with pytest.raises(CommandError, match="is a link or a device"):
        check_archive(write(tmp_path, zip_of(ORDINARY, mode=kind | 0o777)))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_one_name_twice(tmp_path: Path) -> None:
    made = io.BytesIO(zip_of(ORDINARY))
    with zipfile.ZipFile(made, "a") as mar:
        mar.writestr("activity_handler.py", "import os\n")
    with pytest.raises(CommandError, match="stands in it twice"):
        check_archive(write(tmp_path, made.getvalue()))


def bomb() -> bytes:
    return zip_of({**ORDINARY, "bomb": bytes(100_000_000)}, zipfile.ZIP_DEFLATED)


def lying_bomb() -> bytes:
    """It says 10 bytes, before itself and in the directory, and unpacks to as many as the other."""
    content = bomb()
    return content.replace(struct.pack("<L", 100_000_000), struct.pack("<L", 10))


def many() -> bytes:
    return zip_of({**ORDINARY, **{f"{number}": b"" for number in range(10_001)}})


def smuggled() -> bytes:
    """An entry that the directory does not name: who reads front to back, as TorchServe does, unpacks it."""
    hidden = zip_of({"../evil.py": b"import os"})
    hidden = hidden[: hidden.index(b"PK\x01\x02")]
    content = zip_of(ORDINARY)
    directory = content.index(b"PK\x01\x02")
    end = bytearray(content[-22:])
    struct.pack_into("<L", end, 16, directory + len(hidden))
    return content[:directory] + hidden + content[directory:-22] + bytes(end)


def ahead() -> bytes:
    """The same before the first entry; Python's zipfile takes it for a program's own bytes."""
    hidden = zip_of({"../evil.py": b"import os"})
    return hidden[: hidden.index(b"PK\x01\x02")] + zip_of(ORDINARY)


def two_faced() -> bytes:
    """Its header says another name than the directory."""
    return zip_of({**ORDINARY, "aa/evil.py": b"import os"}).replace(b"aa/evil.py", b"../evil.py", 1)


def encrypted() -> bytes:
    content = bytearray(zip_of(ORDINARY))
    content[6] |= 1
    return bytes(content)


def sizes_behind() -> bytes:
    content = bytearray(zip_of(ORDINARY))
    content[6] |= 8
    return bytes(content)


def longer_than_it_says() -> bytes:
    content = bytearray(zip_of(ORDINARY, zipfile.ZIP_DEFLATED))
    return bytes(content).replace(struct.pack("<L", 3000), struct.pack("<L", 2999))


def other_method() -> bytes:
    return zip_of(ORDINARY, zipfile.ZIP_LZMA)


def no_manifest() -> bytes:
    return zip_of({"activity_handler.py": b"pass\n"})


@pytest.mark.parametrize(
    "plant",
    [
        *(bomb, lying_bomb, many, smuggled, ahead, two_faced, encrypted, sizes_behind, longer_than_it_says),
        *(other_method, no_manifest, lambda: b"PK", lambda: zip_of(ORDINARY)[:-30], lambda: zip_of(ORDINARY)[5:]),
        bytes,
    ],
)
def test_what_is_not_what_it_seems(tmp_path: Path, plant: Callable[[], bytes]) -> None:
    with pytest.raises(CommandError, match=r"a\.mar is (no archive\.|not unpacked: )"):
        check_archive(write(tmp_path, plant()))


def unpacked_front_to_back(content: bytes) -> dict[str, bytes]:
    """As Java's ZipInputStream, which TorchServe unpacks with: by the headers, and until there is none."""
    found: dict[str, bytes] = {}
    place = 0
    while content[place : place + 4] == LOCAL:
        _, _, method, _, _, _, packed, _, name, extra = struct.unpack("<5H3L2H", content[place + 4 : place + 30] + b"")
        begin = place + 30 + name + extra
        body = content[begin : begin + packed]
        found[content[place + 30 : begin - extra].decode()] = body if method == 0 else zlib.decompress(body, -15)
        place = begin + packed
    return found


def test_the_planted_entry_is_one_that_torchserve_would_unpack() -> None:
    for plant in (smuggled, ahead, two_faced):
        assert "../evil.py" in unpacked_front_to_back(plant())
    for plant in (smuggled, two_faced):
        with zipfile.ZipFile(io.BytesIO(plant())) as mar:
            assert "../evil.py" not in mar.namelist()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_what_passes_unpacks_to_what_its_directory_says(tmp_path: Path, data: st.DataObject) -> None:
    """Whatever few bytes of an archive are changed: it is refused, or the same whichever way it is read."""
    content = bytearray(zip_of(ORDINARY, data.draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    archive = write(tmp_path, bytes(content))
    try:
        check_archive(archive)
    except CommandError:
        return
    with zipfile.ZipFile(archive) as mar:
        sizes = {entry.filename: entry.file_size for entry in mar.infolist()}
    assert {name: len(body) for name, body in unpacked_front_to_back(bytes(content)).items()} == sizes
    assert not any(name.startswith("/") or ".." in name.split("/") for name in sizes)
