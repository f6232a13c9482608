"""Blobs: the uploads in progress, and the contents that are stored."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fal_server.errors import NotFound, NotNow
from fal_server.state.file_stores import FolderStore
from fal_server.store.blobs import Blobs


def test_abandoned_uploads_are_dropped(tmp_path):
    """Uploads that were not completed are dropped after a day; younger ones stay."""
    blobs = Blobs(FolderStore(tmp_path))
    old, added_to, young = [asyncio.run(blobs.begin("a")) for _ in range(3)]
    asyncio.run(blobs.add_part("a", added_to, 1, chunks(b"part")))
    for id in (old, added_to):
        os.utime(tmp_path / "uploads" / id / "begun", (1, 1))
    blobs.drop_abandoned()
    assert {path.name for path in (tmp_path / "uploads").iterdir()} == {added_to, young}


async def chunks(*words: bytes) -> AsyncIterator[bytes]:
    for word in words:
        yield word


def test_upload_is_completed_once(tmp_path: Path):
    """
    While an upload is being completed, it is neither completed again nor added to, cancelled
    or dropped as abandoned; afterwards it is gone. One that could not be recorded stays.
    """

    async def main() -> None:
        blobs = Blobs(FolderStore(tmp_path))
        id = await blobs.begin("a")
        for number, word in enumerate((b"left", b"right"), 1):
            await blobs.add_part("a", id, number, chunks(word))
        with pytest.raises(ZeroDivisionError):
            async with blobs.completing("a", id, [1, 2]):
                raise ZeroDivisionError
        async with blobs.completing("a", id, [2, 1]) as blob:
            with pytest.raises(NotNow, match="being completed already"):
                async with blobs.completing("a", id, [1]):
                    pass
            with pytest.raises(NotNow):
                await blobs.add_part("a", id, 3, chunks(b""))
            with pytest.raises(NotNow):
                await blobs.cancel("a", id)
            for file in (tmp_path / "uploads" / id).iterdir():
                os.utime(file, (1, 1))
            blobs.drop_abandoned()
            assert blobs.count_begun("a") == 1
        assert b"".join(blobs.pieces(blob.digest, blob.size)) == b"rightleft"
        assert blobs.count_begun("a") == 0
        with pytest.raises(NotFound):
            async with blobs.completing("a", id, [1]):
                pass

    asyncio.run(main())


def test_part_of_an_upload_that_ends_is_refused(tmp_path: Path):
    """A part that arrives while its upload is cancelled is refused, as there is no such upload."""

    async def main() -> None:
        blobs = Blobs(FolderStore(tmp_path))
        id = await blobs.begin("a")

        async def cancelling() -> AsyncIterator[bytes]:
            yield b"before"
            await blobs.cancel("a", id)
            yield b"after"

        with pytest.raises(NotFound, match="no such upload"):
            await blobs.add_part("a", id, 1, cancelling())

    asyncio.run(main())


def test_cancelled_upload_is_gone_at_once(tmp_path: Path):
    """
    An upload that is cancelled is gone while its parts are still being deleted; they count
    until they are.
    """

    async def main() -> None:
        blobs = Blobs(FolderStore(tmp_path))
        id = await blobs.begin("a")
        await blobs.add_part("a", id, 1, chunks(b"part"))
        cancelling = asyncio.create_task(blobs.cancel("a", id))
        while blobs.count_begun("a"):
            await asyncio.sleep(0)
        with pytest.raises(NotFound, match="no such upload"):
            await blobs.add_part("a", id, 2, chunks(b""))
        await cancelling
        assert (blobs.count_begun("a"), blobs.measure_parts("a")) == (0, [])

    asyncio.run(main())


@pytest.mark.parametrize("number", [-1, 0, 2, 10_001, 10**300])
def test_part_that_cannot_be_is_missing(tmp_path: Path, number: int):
    """An upload cannot be completed with a part that was never sent, whatever its number."""

    async def main() -> None:
        blobs = Blobs(FolderStore(tmp_path))
        id = await blobs.begin("a")
        await blobs.add_part("a", id, 1, chunks(b"part"))
        with pytest.raises(NotFound, match="part of the upload is missing"):
            async with blobs.completing("a", id, [1, number]):
                pass

    asyncio.run(main())


def test_content_is_written_once(tmp_path: Path):
    """A content that comes in one piece is written to the disk once, and then renamed."""

    async def main() -> None:
        blobs = Blobs(FolderStore(tmp_path))
        written: set[int] = set()

        async def noting() -> AsyncIterator[bytes]:
            yield b"con"
            written.update(path.stat().st_ino for path in (tmp_path / "uploads").iterdir())
            yield b"tent"

        blob = await blobs.keep(noting())
        path = tmp_path / blobs.name_of(blob.digest)
        assert (path.read_bytes(), blob.size) == (b"content", 7)
        assert {path.stat().st_ino} == written

    asyncio.run(main())
