"""Archives: whole ones are read as they were written, and no others."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator

import pytest

from fal_server.backups.archives import FORMAT, ArchiveReader, ArchiveWriter, Head
from fal_server.errors import ServerError

MEMBERS = {"keys/one": b"secret", "files/empty": b"", "tables/t/0": bytes(range(256)) * 5000}


@pytest.fixture(scope="module")
def content() -> bytes:
    file = io.BytesIO()
    archive = ArchiveWriter(file, Head(layout=7, made_at=1.5))
    for name, each in MEMBERS.items():
        pieces = [each[start : start + 100_001] for start in range(0, len(each), 100_001)]
        archive.add_pieces(name, len(each), pieces)
    archive.close()
    return file.getvalue()


def read(content: bytes) -> Iterator[tuple[str, bytes]]:
    archive = ArchiveReader(io.BytesIO(content), "backup.tar")
    try:
        for name, pieces in archive.members():
            yield name, b"".join(pieces)
    finally:
        archive.close()


def test_members_are_read_as_they_were_written(content: bytes):
    """An archive has its head and all members, also those that nobody reads."""
    assert dict(read(content)) == MEMBERS
    archive = ArchiveReader(io.BytesIO(content), "backup.tar")
    assert archive.head == Head(layout=7, made_at=1.5)
    assert [name for name, _ in archive.members()] == [*MEMBERS]
    archive.close()


@pytest.mark.parametrize("part", [0.0, 0.01, 0.3, 0.9, 0.999])
def test_archive_that_is_cut(content: bytes, part: float):
    """An archive of which the end is missing is refused at the latest at its end."""
    # Zeros alone, which the format has there, may be missing.
    whole = len(content.rstrip(b"\0"))
    with pytest.raises(ServerError, match=r"^backup.tar is (damaged|not a backup)"):
        dict(read(content[: int(whole * part)]))


@pytest.mark.parametrize("place", [b"secret", b"keys/one", bytes(range(200))])
def test_archive_that_is_changed(content: bytes, place: bytes):
    """An archive of which a byte has changed is refused."""
    at = content.index(place)
    changed = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
    with pytest.raises(ServerError, match=r"^backup.tar is (damaged|not a backup)"):
        dict(read(changed))


def test_other_files(content: bytes):
    """A file that is no archive, or one of a newer format, is refused."""
    with pytest.raises(ServerError, match="is not a backup of a server"):
        dict(read(b"words" * 1000))
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        head = json.dumps({"format": FORMAT + 1, "what": "ever"}).encode()
        member = tarfile.TarInfo("fal-server-backup.json")
        member.size = len(head)
        tar.addfile(member, io.BytesIO(head))
    with pytest.raises(ServerError, match=f"newer version \\(format {FORMAT + 1}; this one"):
        dict(read(file.getvalue()))
