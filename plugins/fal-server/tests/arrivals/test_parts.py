"""Parts: written at their place where that is possible, and made into one file."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fal_server.arrivals import parts as parts_module
from fal_server.errors import NotFound, NotNow, TooLarge
from fal_server.state.file_stores import FolderStore
from fal_server.store.blobs import LARGEST_PART, Blobs

#: The size of a part here.
SIZE = 1 << 20


def content_of(number: int, size: int = SIZE) -> bytes:
    """Return bytes that no other part has."""
    return hashlib.sha256(str(number).encode()).digest() * (size // 32) + b"." * (size % 32)


async def chunks_of(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), 300_000):
        yield content[start : start + 300_000]


async def broken(content: bytes) -> AsyncIterator[bytes]:
    yield content
    raise ConnectionError


async def send(
    blobs: Blobs, id: str, number: int, content: bytes, *, told: int | None = None
) -> None:
    """Send a part whose size is told as it is, unless *told*."""
    size = len(content) if told is None else told
    tag = await blobs.add_part("a", id, number, chunks_of(content), size=size)
    assert tag == hashlib.md5(content, usedforsecurity=False).hexdigest()


async def take(blobs: Blobs, id: str, numbers: Sequence[int], path: Path) -> bytes:
    """Make the file *path* of parts, and return its content."""
    async with blobs.taking("a", id, numbers) as taken:
        await asyncio.to_thread(blobs.parts.make_file, taken, str(path))
    content = path.read_bytes()
    assert len(content) == taken.size
    return content


async def fail(blobs: Blobs, id: str, numbers: Sequence[int], path: Path) -> None:
    """Make the file *path* of parts, and fail before the upload is removed."""
    with contextlib.suppress(ZeroDivisionError):
        async with blobs.taking("a", id, numbers) as taken:
            blobs.parts.make_file(taken, str(path))
            raise ZeroDivisionError


def names(folder: Path, id: str) -> set[str]:
    """Return the names of the files of an upload."""
    return {path.name for path in (folder / "uploads" / id).iterdir()} - {"begun"}


@pytest.mark.parametrize("last", [SIZE, SIZE // 2 + 17, 0])
def test_parts_are_written_once(tmp_path: Path, last: int):
    """
    Parts of one size that come together in any order are written to the file that they become;
    the last one may be smaller. Nothing else is left.
    """

    async def main() -> None:
        blobs = Blobs(FolderStore(tmp_path / "blobs"))
        id = await blobs.begin("a")
        sizes = {1: SIZE, 2: SIZE, 3: SIZE, 4: last}
        sending = [
            send(blobs, id, number, content_of(number, sizes[number]))
            for number in (4, 2, 3, 1)
        ]
        await asyncio.gather(*sending)
        whole = tmp_path / "blobs" / "uploads" / id / f"whole.{SIZE}"
        state = whole.stat()
        assert sorted(blobs.measure_parts("a")) == sorted(sizes.values())
        content = await take(blobs, id, [1, 2, 3, 4], tmp_path / "file")
        assert content == b"".join(content_of(number, size) for number, size in sizes.items())
        assert (tmp_path / "file").stat().st_ino == state.st_ino
        assert (tmp_path / "file").stat().st_nlink == 1
        assert not list((tmp_path / "blobs" / "uploads").iterdir())

    asyncio.run(main())


def test_part_that_is_sent_again(tmp_path: Path):
    """
    Of a part that is sent twice, the second counts, whatever its size; one that breaks off
    replaces nothing.
    """

    async def main() -> None:
        blobs = Blobs(FolderStore(tmp_path / "blobs"))
        id = await blobs.begin("a")
        for number in (1, 2, 3):
            await send(blobs, id, number, content_of(number))
        await send(blobs, id, 2, b"other bytes")
        with pytest.raises(ConnectionError):
            await blobs.add_part("a", id, 3, broken(b"x" * SIZE), size=2 * SIZE)
        content = await take(blobs, id, [1, 2, 3], tmp_path / "file")
        assert content == content_of(1) + b"other bytes" + content_of(3)

    asyncio.run(main())


@pytest.mark.parametrize("told", [SIZE - 100, SIZE + 100, 2 * SIZE, LARGEST_PART + 1, 0])
def test_size_that_is_told_wrongly(tmp_path: Path, told: int):
    """A part has the bytes that were sent, even if its size was told wrongly."""

    async def main() -> None:
        blobs = Blobs(FolderStore(tmp_path / "blobs"))
        id = await blobs.begin("a")
        for number in (2, 1, 3):
            await send(blobs, id, number, content_of(number), told=told)
        assert {"1", "2", "3"} <= names(tmp_path / "blobs", id)
        content = await take(blobs, id, [1, 2, 3], tmp_path / "file")
        assert content == b"".join(map(content_of, (1, 2, 3)))

    asyncio.run(main())


def test_part_that_breaks_off_goes_on_at_its_place(tmp_path: Path):
    """
    A part that breaks off is missing, and counts; it is sent again to the same place, by a
    server that was started since as well. One of another size has a file of its own.
    """

    async def main() -> None:
        blobs = Blobs(FolderStore(tmp_path / "blobs"))
        id = await blobs.begin("a")
        for number in (1, 2):
            with pytest.raises(ConnectionError):
                await blobs.add_part("a", id, number, broken(b"x" * 999), size=SIZE)
        assert blobs.measure_parts("a") == [SIZE, SIZE]
        with pytest.raises(NotFound, match="part of the upload is missing"):
            await take(blobs, id, [1], tmp_path / "file")
        blobs = Blobs(FolderStore(tmp_path / "blobs"))
        await send(blobs, id, 1, content_of(1))
        await send(blobs, id, 2, content_of(2, SIZE + 1))
        assert names(tmp_path / "blobs", id) == {
            "1.placed",
            "2",
            "2.partial",
            f"whole.{SIZE}",
        }
        content = await take(blobs, id, [1, 2], tmp_path / "file")
        assert content == content_of(1) + content_of(2, SIZE + 1)

    asyncio.run(main())


def test_part_that_is_cancelled_goes_on_at_its_place(tmp_path: Path):
    """
    A part whose sender is cancelled while a thread writes ends after that thread, and is sent
    again to the same place.
    """
    begun, may_end = threading.Event(), threading.Event()

    def hash_slowly(_: bytes) -> None:
        begun.set()
        may_end.wait(60)

    async def check() -> None:
        pass

    async def main() -> None:
        blobs = Blobs(FolderStore(tmp_path / "blobs"))
        id = await blobs.begin("a")
        adding = blobs.parts.add(
            f"uploads/{id}",
            1,
            chunks_of(content_of(1)),
            size=SIZE,
            largest=SIZE,
            hash=hash_slowly,
            check=check,
        )
        task = asyncio.create_task(adding)
        await asyncio.to_thread(begun.wait, 60)
        assert blobs.measure_parts("a") == []
        task.cancel()
        await asyncio.sleep(0.01)
        assert not task.done()
        may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert blobs.measure_parts("a") == [SIZE]
        await send(blobs, id, 1, content_of(1))
        assert "1.placed" in names(tmp_path / "blobs", id)

    asyncio.run(main())


def test_file_that_is_there_never_changes(tmp_path: Path):
    """
    A server that is killed after it has put a file in its place, and before it has removed the
    upload, changes the file no more, whatever is sent to the upload then.
    """

    async def main() -> None:
        blobs = Blobs(FolderStore(tmp_path / "blobs"))
        id = await blobs.begin("a")
        for number in (1, 2):
            await send(blobs, id, number, content_of(number))
        await fail(blobs, id, [1, 2], tmp_path / "file")
        blobs = Blobs(FolderStore(tmp_path / "blobs"))
        await send(blobs, id, 3, content_of(3))
        await send(blobs, id, 2, content_of(4))
        content = await take(blobs, id, [1, 2, 3], tmp_path / "other")
        assert content == content_of(1) + content_of(4) + content_of(3)
        assert (tmp_path / "file").read_bytes() == content_of(1) + content_of(2)

    asyncio.run(main())


def test_completion_that_fails_loses_nothing(tmp_path: Path):
    """An upload that could not be completed can be, with more parts, and with others."""

    async def main() -> None:
        blobs = Blobs(FolderStore(tmp_path / "blobs"))
        id = await blobs.begin("a")
        for number in (1, 2, 3):
            await send(blobs, id, number, content_of(number))
        await send(blobs, id, 5, content_of(5, 40))
        for numbers in ([1, 2], [1, 2, 5], [1, 3], [3], [2, 1]):
            await fail(blobs, id, numbers, tmp_path / "file")
            joined = b"".join(content_of(n, 40 if n == 5 else SIZE) for n in numbers)
            assert (tmp_path / "file").read_bytes() == joined
            (tmp_path / "file").unlink()
        content = await take(blobs, id, [1, 2, 3, 5], tmp_path / "file")
        assert content == b"".join(map(content_of, (1, 2, 3))) + content_of(5, 40)

    asyncio.run(main())


def test_part_that_arrives_while_its_upload_is_completed(tmp_path: Path):
    """A part that arrives while its upload is completed is refused, and not in the file."""

    async def main() -> None:
        blobs = Blobs(FolderStore(tmp_path / "blobs"))
        id = await blobs.begin("a")
        await send(blobs, id, 1, content_of(1))
        is_completed = asyncio.Event()

        async def slow() -> AsyncIterator[bytes]:
            yield content_of(2)[: SIZE // 2]
            await is_completed.wait()
            yield content_of(2)[SIZE // 2 :]

        late = asyncio.create_task(blobs.add_part("a", id, 2, slow(), size=SIZE))
        while "2.partial" not in names(tmp_path / "blobs", id):
            await asyncio.sleep(0)
        async with blobs.taking("a", id, [1]) as taken:
            blobs.parts.make_file(taken, str(tmp_path / "file"))
            is_completed.set()
            with pytest.raises(NotNow):
                await late
        assert (tmp_path / "file").read_bytes() == content_of(1)

    asyncio.run(main())


def test_part_of_an_upload_that_is_cancelled(tmp_path: Path):
    """A part at its place is refused when its upload is cancelled, of which nothing is left."""

    async def main() -> None:
        blobs = Blobs(FolderStore(tmp_path / "blobs"))
        id = await blobs.begin("a")

        async def cancelling() -> AsyncIterator[bytes]:
            yield b"x" * SIZE
            await blobs.cancel("a", id)
            yield b"x" * SIZE

        with pytest.raises(NotFound, match="no such upload"):
            await blobs.add_part("a", id, 1, cancelling(), size=2 * SIZE)
        assert not list((tmp_path / "blobs" / "uploads").iterdir())

    asyncio.run(main())


def test_write_that_comes_after_its_upload_was_removed(tmp_path: Path):
    """A write that is late, as its upload was removed, makes no file of it anew."""
    place = parts_module._Place(tmp_path, 1, SIZE)
    place.whole.touch()
    writer = parts_module._PlaceWriter(place, str(tmp_path / "aside"))
    writer.write(b"some")
    place.whole.unlink()
    with pytest.raises(FileNotFoundError):
        writer.write(b"more")
    assert not list(tmp_path.iterdir())


def test_part_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """
    A part that is too large is refused, whatever is told of its size. No room is kept for more
    than a part may have.
    """
    monkeypatch.setattr("fal_server.store.blobs.LARGEST_PART", SIZE)

    async def main() -> None:
        blobs = Blobs(FolderStore(tmp_path / "blobs"))
        id = await blobs.begin("a")
        for told in (2**63, 2**60, SIZE + 1, None, SIZE):
            chunks = chunks_of(b"x" * (SIZE + 1))
            with pytest.raises(TooLarge):
                await blobs.add_part("a", id, 1, chunks, size=told)
            if told != SIZE:
                assert "1.partial" not in names(tmp_path / "blobs", id)

    asyncio.run(main())


def test_shared_folders_have_a_file_for_each_part(tmp_path: Path):
    """In a folder of several servers each part has a file of its own."""

    async def main() -> None:
        blobs = Blobs(FolderStore(tmp_path / "blobs", is_shared=True))
        id = await blobs.begin("a")
        for number in (2, 1):
            await send(blobs, id, number, content_of(number))
        assert names(tmp_path / "blobs", id) == {"1", "2"}
        content = await take(blobs, id, [1, 2], tmp_path / "file")
        assert content == content_of(1) + content_of(2)

    asyncio.run(main())


def test_file_systems_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Where a file cannot have two names, as on another file system, parts are copied."""

    def refuse(*_: Any) -> None:
        raise OSError(18, os.strerror(18))

    async def main() -> None:
        blobs = Blobs(FolderStore(tmp_path / "blobs"))
        id = await blobs.begin("a")
        for number, size in ((2, 77), (1, SIZE)):
            await send(blobs, id, number, content_of(number, size))
        content = await take(blobs, id, [1, 2], tmp_path / "file")
        assert content == content_of(1) + content_of(2, 77)

    monkeypatch.setattr(os, "link", refuse)
    asyncio.run(main())


#: A part: its number, its size, what is told of it, and whether it breaks off.
steps = st.lists(
    st.tuples(
        st.integers(1, 4), st.sampled_from([8, 5, 13, 0]), st.integers(-1, 1), st.booleans()
    ),
    min_size=1,
    max_size=12,
)


@given(steps=steps, numbers=st.lists(st.integers(1, 4), min_size=1, unique=True))
@settings(deadline=None)
def test_any_order(tmp_path_factory: pytest.TempPathFactory, steps: Any, numbers: list[int]):
    """Whatever is sent in whatever order, a file has the last whole content of each of its parts."""
    folder = tmp_path_factory.mktemp("parts")
    sent: dict[int, bytes] = {}

    async def main() -> None:
        blobs = Blobs(FolderStore(folder / "blobs"))
        id = await blobs.begin("a")
        for turn, (number, size, off, breaks) in enumerate(steps):
            content = bytes([turn + 1]) * size
            adding: Awaitable[Any] = blobs.add_part(
                "a", id, number, (broken if breaks else chunks_of)(content), size=size + off
            )
            if breaks:
                with pytest.raises(ConnectionError):
                    await adding
            else:
                await adding
                sent[number] = content
        if set(numbers) <= set(sent):
            content = await take(blobs, id, numbers, folder / "file")
            assert content == b"".join(sent[number] for number in numbers)

    with pytest.MonkeyPatch.context() as patching:
        patching.setattr(parts_module, "_LEAST", 1)
        patching.setattr("fal_server.arrivals.receiving._AT_ONCE", 1)
        asyncio.run(main())
