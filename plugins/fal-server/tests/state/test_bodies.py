"""Bodies: small ones in memory, large ones in files, which are complete or not there."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from pathlib import Path
from typing import Any

import pytest

from fal_server.errors import StorageFull, TooLarge
from fal_server.state.bodies import SMALL, Body, BodyFiles, IncomingBody
from fal_server.state.file_stores import FolderStore

LARGE = bytes(range(256)) * 4096

#: A device that takes nothing.
FULL = Path("/dev/full")


@pytest.fixture
def files(tmp_path: Path) -> BodyFiles:
    return BodyFiles(FolderStore(tmp_path / "bodies"))


async def read(body: Body) -> bytes:
    return b"".join([piece async for piece in body.pieces()])


async def names(tmp_path: Path, expected: Iterable[str]) -> None:
    """Wait until these files are there, and no others."""
    while {path.name for path in (tmp_path / "bodies").iterdir()} != {*expected}:
        # They are removed in the background.
        await asyncio.sleep(0.01)


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 60))


@pytest.mark.parametrize("size", [0, 1, SMALL, SMALL + 1, len(LARGE)])
@pytest.mark.parametrize("step", [1000, SMALL, len(LARGE)])
def test_body_is_read_as_it_came(files: BodyFiles, tmp_path: Path, size: int, step: int):
    """A body is the same byte by byte, in whatever pieces it came. Only a large one has a file."""

    async def main() -> None:
        content = LARGE[:size]
        with files.receive("one", largest=size) as incoming:
            for start in range(0, size, step):
                await incoming.write(content[start : start + step])
            body = await incoming.finish()
            incoming.keep()
        assert (body.size, incoming.size) == (size, size)
        assert (body.files is None) == (size <= SMALL)
        assert await read(body) == content
        assert content.startswith(body.start())
        stored = files.find("one", size, body.content)
        assert b"".join(stored.pieces_here()) == content
        await names(tmp_path, ["one"] if body.files else [])
        if body.files:
            path = tmp_path / "bodies" / body.name
            assert path.stat().st_mode & 0o777 == 0o600
        files.remove("one")
        await names(tmp_path, [])

    run(main())


def test_body_that_nobody_keeps_is_removed(files: BodyFiles, tmp_path: Path):
    """
    A body that did not arrive as a whole, or is not kept, leaves no file, unless somebody
    else takes it.
    """

    async def main() -> None:
        with files.receive("gone", largest=1 << 20) as gone:
            await gone.write(LARGE)
        with files.receive("large", largest=1_000_000) as large:
            await large.write(LARGE[:900_000])
            with pytest.raises(TooLarge, match="more than 1000000 bytes"):
                await large.write(LARGE[:200_000])
        with files.receive("unkept", largest=1 << 20) as unkept:
            await unkept.write(LARGE)
            await unkept.finish()
        with files.receive("taken", largest=1 << 20) as taken:
            await taken.write(LARGE)
            taken.take()
        await names(tmp_path, ["taken"])
        taken.discard()
        await names(tmp_path, [])

    run(main())


def test_leftovers_are_removed(files: BodyFiles, tmp_path: Path):
    """Files that nothing refers to are removed, but not those that arrive."""

    async def main() -> None:
        kept: list[IncomingBody] = []
        for name in ("left", "used", "arriving"):
            incoming = files.receive(name, largest=1 << 20)
            await incoming.write(LARGE)
            kept.append(incoming)
        for incoming in kept[:2]:
            incoming.keep()
        asked: list[str] = []

        def choose(names: Iterable[str]) -> Any:
            asked.extend(names)
            return (name for name in names if name != "used")

        await files.remove_leftovers(choose, count=1)
        assert {*asked} == {"left", "used"}
        await names(tmp_path, ["used", "arriving"])
        kept[2].discard()

    run(main())


def test_file_that_is_not_complete(files: BodyFiles, tmp_path: Path):
    """A body of which a part is missing is an error, and not a shorter body."""

    async def main() -> None:
        with files.receive("one", largest=1 << 20) as incoming:
            await incoming.write(LARGE)
            body = await incoming.finish()
            (tmp_path / "bodies" / body.name).write_bytes(LARGE[:-1])
            with pytest.raises(OSError, match="not complete"):
                await read(body)

    run(main())


@pytest.mark.skipif(not FULL.exists(), reason="There is no device that is always full.")
@pytest.mark.parametrize("is_patient", [False, True])
def test_disk_that_is_full(files: BodyFiles, tmp_path: Path, is_patient: bool):
    """A body for which the disk has no room is refused, or waits until there is room."""
    path = tmp_path / "bodies" / "one"
    path.symlink_to(FULL)

    async def main() -> None:
        with files.receive("one", largest=1 << 20, patient=is_patient) as incoming:
            if not is_patient:
                with pytest.raises(StorageFull, match="disk of the server is full"):
                    await incoming.write(LARGE)
                return
            writing = asyncio.ensure_future(incoming.write(LARGE))
            done, _ = await asyncio.wait([writing], timeout=0.2)
            assert not done
            path.unlink()
            await writing
            assert await read(await incoming.finish()) == LARGE

    run(main())
