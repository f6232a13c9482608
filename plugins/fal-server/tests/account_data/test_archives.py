"""
Archives of strangers.
"""

from __future__ import annotations

import struct
import zipfile
from contextlib import nullcontext
from pathlib import Path

import pytest

from fal_server.account_data.archives import check_index
from fal_server.errors import Invalid, TooLarge


def write(path: Path, count: int, *, name: int = 10, comment: bytes = b"") -> str:
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(count):
            archive.writestr(f"{number:0{name}}", b"")
        archive.comment = comment
    return str(path)


@pytest.mark.parametrize("comment", [b"", b"a comment", b"x" * 65_000])
def test_archives_with_small_indexes_are_read(tmp_path: Path, comment: bytes):
    """
    An archive may have a comment, and so many files that their number needs more room.
    """
    check_index(write(tmp_path / "few", 3, comment=comment))
    check_index(write(tmp_path / "none", 0, comment=comment))


def test_archives_with_large_indexes_are_refused(tmp_path: Path):
    """
    An archive whose index would take much memory is refused before it is read.
    """
    with pytest.raises(TooLarge):
        check_index(write(tmp_path / "large", 300, name=60_000))


@pytest.mark.parametrize(("size", "is_fine"), [(1 << 20, True), (1 << 40, False)])
def test_ends_of_large_archives_are_read(tmp_path: Path, size: int, is_fine: bool):
    """
    The size of an index also counts where it stands in the end of a large archive.
    """
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
    """
    A file that is no archive, or has only a part of its end, is refused.
    """
    for content in (b"", b"no archive", b"PK\x05\x06", b"PK\x06\x07" + b"\xff" * 16):
        (tmp_path / "file").write_bytes(content)
        with pytest.raises(Invalid):
            check_index(str(tmp_path / "file"))
