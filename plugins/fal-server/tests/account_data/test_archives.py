"""Archives of strangers."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path

import pytest

from fal_server.account_data.contents import check_index, check_members
from fal_server.errors import Invalid, TooLarge


def write(path: Path, count: int, *, name: int = 10, comment: bytes = b"") -> str:
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(count):
            archive.writestr(f"{number:0{name}}", b"")
        archive.comment = comment
    return str(path)


@pytest.mark.parametrize("comment", [b"", b"a comment", b"x" * 65_000])
def test_archives_with_small_indexes_are_read(tmp_path: Path, comment: bytes):
    """An archive may have a comment, and so many files that their number needs more room."""
    check_index(write(tmp_path / "few", 3, comment=comment))
    check_index(write(tmp_path / "none", 0, comment=comment))


def test_archives_with_large_indexes_are_refused(tmp_path: Path):
    """An archive whose index would take much memory is refused before it is read."""
    with pytest.raises(TooLarge):
        check_index(write(tmp_path / "large", 300, name=60_000))


@pytest.mark.parametrize(("size", "is_fine"), [(1 << 20, True), (1 << 40, False)])
def test_ends_of_large_archives_are_read(tmp_path: Path, size: int, is_fine: bool):
    """The size of an index also counts where it stands in the end of a large archive."""
    end = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 9, 9, size, 0)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, 100, 1)
    last = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 9, 9, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    path = tmp_path / "file"
    path.write_bytes(bytes(100) + end + locator + last)
    with nullcontext() if is_fine else pytest.raises(TooLarge):
        check_index(str(path))


@pytest.mark.parametrize("said", [0, 100, 156, 1 << 40])
def test_the_end_that_is_read_is_checked(tmp_path: Path, said: int):
    """
    The end of a large archive counts that stands before its locator, as that is what is read;
    a locator that names another place is refused.
    """

    def end(size: int) -> bytes:
        return struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 9, 9, size, 0)

    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, said, 1)
    last = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 9, 9, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    path = tmp_path / "file"
    path.write_bytes(bytes(100) + end(10) + end(1 << 30) + locator + last)
    with pytest.raises(TooLarge if said == 156 else Invalid):
        check_index(str(path))


def test_what_is_no_archive_is_refused(tmp_path: Path):
    """A file that is no archive, or has only a part of its end, is refused."""
    for content in (b"", b"no archive", b"PK\x05\x06", b"PK\x06\x07" + b"\xff" * 16):
        (tmp_path / "file").write_bytes(content)
        with pytest.raises(Invalid):
            check_index(str(tmp_path / "file"))


def listing(
    files: Iterable[tuple[str, int]], method: int = zipfile.ZIP_DEFLATED
) -> list[zipfile.ZipInfo]:
    listed: list[zipfile.ZipInfo] = []
    for name, size in files:
        member = zipfile.ZipInfo(name)
        member.file_size, member.compress_type = size, method
        listed.append(member)
    return listed


@pytest.mark.parametrize(
    ("files", "size"),
    [
        ([("a", 583_000 * 99)], 583_000),
        ([("empty/table", 16 << 20)], 20_000),
        (((f"some/where/{number}", 1) for number in range(99_000)), 5 << 20),
    ],
    ids=["packed", "small", "many"],
)
def test_archives_that_are_unpacked(files: Iterable[tuple[str, int]], size: int):
    """An archive of programs and texts is unpacked, and a small one however well it is packed."""
    check_members(listing(files), size)


def test_archives_that_are_not_packed():
    """An archive may have files as they are."""
    check_members(listing([("a", 1)], zipfile.ZIP_STORED), 100)


@pytest.mark.parametrize(
    ("files", "size", "says"),
    [
        (
            [("a", 300 << 20), ("b", 300 << 20)],
            583_000,
            "629,145,600.*583,000.*100 time",
        ),
        ([("a", 33 << 30)], 5 << 30, "35,433,480,192 bytes.*at most 34,359,738,368"),
        (((f"{n}", 0) for n in range(100_001)), 5 << 20, "more than 100,000 files"),
        (
            (("a/" * 190 + f"{n}/" * 600, 0) for n in range(200)),
            5 << 20,
            "directories",
        ),
    ],
    ids=["ratio", "bytes", "files", "directories"],
)
def test_archives_that_unpack_to_too_much(
    files: Iterable[tuple[str, int]], size: int, says: str
):
    """
    An archive whose files are too many, too large, or too much larger than itself is refused
    before anything of it is unpacked, with what it may have.
    """
    with pytest.raises(TooLarge, match=says):
        check_members(listing(files), size)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, 9, 93])
def test_other_ways_of_packing_are_refused(method: int):
    """An archive is refused whose packing lets its sender choose how much memory unpacking takes."""
    with pytest.raises(Invalid, match="'large' of the archive is not packed by deflate"):
        check_members(listing([("large", 1)], method), 100)
