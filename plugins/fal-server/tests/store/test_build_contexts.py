"""The directories that images of clients are built of."""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from threading import Event

import attrs
import pytest
from isolate_proto import BuildEnvironmentRequest

from fal_server.errors import NotFound, TooLarge, TooMany
from fal_server.limits import Limits
from fal_server.state.databases import Database
from fal_server.state.file_stores import FolderStore
from fal_server.store import build_contexts
from fal_server.store.accounts import make_account
from fal_server.store.blobs import Blobs
from fal_server.store.build_contexts import BuildContexts
from fal_server.store.uploads import AppFiles

PLAIN, PROGRAM = 0o100644, 0o100755


@attrs.define
class Made:
    """The contexts of a server with the accounts ``me`` and ``other``."""

    contexts: BuildContexts
    blobs: Blobs
    me: str
    other: str

    async def send(self, content: bytes, mode: int = PLAIN) -> str:
        """Have the account ``me`` send a file, and return its hash."""
        hash = hashlib.sha256(content + str(mode).encode()).hexdigest()
        id = await self.blobs.begin(self.me)
        await self.blobs.add_part(self.me, id, 1, chunks_of(content))
        await self.contexts.files.complete(self.me, hash, id, [1], mode=mode)
        return hash


async def chunks_of(content: bytes) -> AsyncIterator[bytes]:
    yield content


@pytest.fixture
def made(database: Database, tmp_path: Path) -> Made:
    blobs = Blobs(FolderStore(tmp_path / "blobs"))
    limits = Limits(most_image_files=3, largest_image_files=100, most_build_contexts=2)
    contexts = BuildContexts(AppFiles(database, blobs), tmp_path / "contexts", limits)
    me, other = (
        database.write_here(lambda it, name=name: make_account(it, "user", name)).id
        for name in ("one", "other")
    )
    return Made(contexts, blobs, me, other)


def test_context_has_the_files_that_were_sent(made: Made):
    """
    A context has the files that were sent, with their modes, under their paths, and nothing
    else. It is the same for the same files, and another one for other paths or accounts.
    """

    async def place() -> None:
        files = (
            (await made.send(b"words"), "a/words.txt"),
            (await made.send(b"words", PROGRAM), "run"),
        )
        # Two requests at once make one.
        await asyncio.gather(*(made.contexts.place(made.me, files) for _ in range(3)))
        folder = made.contexts.folder_of(made.me, files)
        await made.contexts.place(made.me, tuple(reversed(files)))
        assert [*folder.parent.iterdir()] == [folder]
        found = {str(each.relative_to(folder)): each for each in folder.rglob("*")}
        assert found.keys() == {"a", "a/words.txt", "run"}
        assert {stat.S_IMODE(each.stat().st_mode) for each in found.values()} == {0o755, 0o644}
        assert found["run"].read_bytes() == found["a/words.txt"].read_bytes() == b"words"
        assert os.access(found["run"], os.X_OK)
        # No content is stored twice.
        assert found["run"].stat().st_nlink == 2
        moved = (files[0], (files[1][0], "walk"))
        assert made.contexts.folder_of(made.me, moved) != folder
        assert made.contexts.folder_of(made.other, files) != folder

    asyncio.run(place())


def test_request_that_is_cancelled_leaves_its_context_whole(
    made: Made, monkeypatch: pytest.MonkeyPatch, settle: Callable[..., None]
):
    """
    The context of a request whose client has gone meanwhile is put in place with all that it
    has to have: nothing removes what is being renamed.
    """
    begun, goes_on, put = Event(), Event(), build_contexts._put_in_place

    def put_later(*folders: Path) -> None:
        begun.set()
        assert goes_on.wait(60)
        put(*folders)

    monkeypatch.setattr(build_contexts, "_put_in_place", put_later)

    async def place() -> None:
        files = ((await made.send(b"words"), "words"),)
        placing = asyncio.create_task(made.contexts.place(made.me, files))
        await asyncio.to_thread(begun.wait, 60)
        placing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await placing
        goes_on.set()
        folder = made.contexts.folder_of(made.me, files)
        await asyncio.to_thread(settle, folder.is_dir)
        await made.contexts.place(made.me, files)
        assert (folder / "words").read_bytes() == b"words"
        assert [*folder.parent.iterdir()] == [folder]

    asyncio.run(place())


def test_context_has_files_of_its_account_alone(made: Made):
    """Knowing a hash gives no file that another account has sent, and leaves no directory."""

    async def place() -> None:
        files = ((await made.send(b"mine"), "mine"),)
        with pytest.raises(NotFound, match="was not uploaded"):
            await made.contexts.place(made.other, files)
        folder = made.contexts.folder_of(made.other, files)
        assert [*folder.parent.iterdir()] == []

    asyncio.run(place())


def test_contexts_are_limited(made: Made):
    """More files than allowed, or larger ones, are refused with a sentence that says what to do."""

    async def place() -> None:
        large = await made.send(b"." * 60)
        with pytest.raises(TooLarge, match=r"more than 100 together.*dockerignore"):
            await made.contexts.place(made.me, ((large, "a"), (large, "b")))
        with pytest.raises(TooLarge, match=r"copies 4 files.*--most-image-files"):
            await made.contexts.place(made.me, tuple((large, name) for name in "abcd"))
        assert [*made.contexts.folder.glob("*/*")] == []

    asyncio.run(place())


def test_old_contexts_are_dropped(made: Made):
    """
    A context of which nothing was built for a day is deleted, and made again where it is
    needed; the content stays.
    """

    async def place() -> None:
        files = ((await made.send(b"words"), "words"),)
        folder = made.contexts.folder_of(made.me, files)
        for _ in range(2):
            await made.contexts.place(made.me, files)
            made.contexts.drop_old()
            assert (folder / "words").read_bytes() == b"words"
            before = time.time() - 2 * 24 * 3600
            os.utime(folder, (before, before))
            made.contexts.drop_old()
            assert [*made.contexts.folder.glob("*/*")] == []

    asyncio.run(place())


def test_contexts_are_few(made: Made):
    """
    An account has so many contexts that were used within an hour, and is told when it may have
    no more; older ones make room, the oldest first. Those that it has can be used all the time,
    and other accounts have theirs.
    """

    async def place() -> None:
        words = await made.send(b"words")
        first, second, third, fourth = (((words, name),) for name in "abcd")
        for files in (first, second, first):
            await made.contexts.place(made.me, files)
        results = await asyncio.gather(
            *(made.contexts.place(made.me, files) for files in (third, fourth)),
            return_exceptions=True,
        )
        assert [type(each) for each in results] == [TooMany, TooMany]
        assert "2 different sets" in str(results[0])
        assert "--most-build-contexts" in str(results[0])
        folders = [made.contexts.folder_of(made.me, files) for files in (first, second)]
        assert {*folders[0].parent.iterdir()} == {*folders}
        await made.contexts.place(made.me, first)
        for folder, hours in zip(folders, (3, 2), strict=True):
            before = time.time() - hours * 3600
            os.utime(folder, (before, before))
        await made.contexts.place(made.me, third)
        present = {made.contexts.folder_of(made.me, files) for files in (second, third)}
        assert {*folders[0].parent.iterdir()} == present

    asyncio.run(place())


def test_descriptions_are_limited(made: Made):
    """
    The description of an environment is refused where it is larger than allowed, and a large
    one is read while others are served.
    """
    contexts = attrs.evolve(made.contexts, limits=Limits(largest_environment=200_000))

    def asking(size: int) -> BuildEnvironmentRequest:
        request = BuildEnvironmentRequest()
        environment = request.environments.add(kind="virtualenv")
        environment.configuration["requirements"] = ["six==1.16.0"] * (size // 16)
        return request

    async def read() -> None:
        with pytest.raises(TooLarge, match=r"may have 200000.*--largest-environment"):
            await contexts.prepare_build(asking(400_000), made.me)
        served = asyncio.ensure_future(asyncio.sleep(0))
        environment = await contexts.prepare_build(asking(150_000), made.me)
        assert environment.kind == "virtualenv"
        assert served.done()

    asyncio.run(read())
