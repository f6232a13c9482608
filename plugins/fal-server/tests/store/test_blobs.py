"""
Blobs: the uploads in progress, and the contents that are stored.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fal_server.errors import NotFound, NotNow
from fal_server.store.blobs import Blobs


def test_abandoned_uploads_are_dropped(tmp_path):
    """
    Uploads that were not completed are dropped after a day; younger ones stay.
    """
    blobs = Blobs(tmp_path)
    old, young = blobs.begin("a"), blobs.begin("a")
    os.utime(tmp_path / "uploads" / old, (1, 1))
    blobs.drop_abandoned()
    assert [path.name for path in (tmp_path / "uploads").iterdir()] == [young]


async def chunks(*words: bytes) -> AsyncIterator[bytes]:
    for word in words:
        yield word


def test_upload_is_completed_once(tmp_path: Path):
    """
    While an upload is being completed, it is neither completed again nor added to, cancelled
    or dropped as abandoned; afterwards it is gone. One that could not be recorded stays.
    """

    async def main() -> None:
        blobs = Blobs(tmp_path)
        id = blobs.begin("a")
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
                blobs.cancel("a", id)
            os.utime(tmp_path / "uploads" / id, (1, 1))
            blobs.drop_abandoned()
            assert blobs.count_begun("a") == 1
        assert blobs.path_of(blob.digest).read_bytes() == b"rightleft"
        assert blobs.count_begun("a") == 0
        with pytest.raises(NotFound):
            async with blobs.completing("a", id, [1]):
                pass

    asyncio.run(main())


def test_part_of_an_upload_that_ends_is_refused(tmp_path: Path):
    """
    A part that arrives while its upload is cancelled is refused, as there is no such upload.
    """

    async def main() -> None:
        blobs = Blobs(tmp_path)
        id = blobs.begin("a")

        async def cancelling() -> AsyncIterator[bytes]:
            yield b"before"
            blobs.cancel("a", id)
            yield b"after"

        with pytest.raises(NotFound, match="no such upload"):
            await blobs.add_part("a", id, 1, cancelling())

    asyncio.run(main())
