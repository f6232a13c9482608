"""
Backups: what a server had at one moment is what a server has that is made of one, whichever
databases they have.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from fal_server.backups.making import Made, make_backup
from fal_server.backups.restoring import restore_backup
from fal_server.errors import DataTooNew, ServerError
from fal_server.plane import ControlPlane
from fal_server.settings import ServerSettings
from fal_server.state.bodies import SMALL, BodyFiles
from fal_server.state.databases import Database
from fal_server.state.migrations.layouts import LAYOUT, find_layout
from fal_server.store.queued_requests import QueuedRequest, QueuedRequests, name_body
from fal_server.store.runner_records import RunnerRecord, RunnerRecords
from fal_server.store.uploads import StoredFile

LARGE = bytes(range(256)) * 1000

MakeSettings = Callable[[str, str], ServerSettings]


@pytest.fixture
def make_settings(request: pytest.FixtureRequest, tmp_path: Path) -> MakeSettings:
    """Return the settings of a server of a new directory, and of an empty database of a kind."""

    def make(name: str, kind: str) -> ServerSettings:
        database = None
        if kind == "postgresql":
            database = request.getfixturevalue("postgresql").make_empty()
        return ServerSettings(data=tmp_path / name, database=database)

    return make


def make_request(id: str, number: int, size: int, **fields: Any) -> QueuedRequest:
    return QueuedRequest(
        id=id,
        number=number,
        account_id="user|1",
        owner_name="owner",
        alias="app",
        sender="user|1",
        method="POST",
        path="/",
        headers=(("A", "é"),),
        body_size=size,
        **fields,
    )


async def pieces(content: bytes) -> AsyncIterator[bytes]:
    yield content


async def add_large(plane: ControlPlane, id: str, number: int) -> None:
    """Add a queued request with a body that is in a file."""
    files = BodyFiles(plane.store.below("requests"))
    with files.receive(name_body(id), largest=10 * SMALL) as incoming:
        await incoming.write(LARGE)
        body = await incoming.finish()
        incoming.keep()
    await QueuedRequests(plane.database).add(make_request(id, number, body.size))


async def fill(plane: ControlPlane, owner: str) -> StoredFile:
    """Have a server keep something of each kind, and return the file that it keeps."""
    await plane.vault.set(owner, "main", "TOKEN", "words", default_exposed=False)
    requests = QueuedRequests(plane.database)
    await requests.add(make_request("small", 1, 3), body=b"\0\1\2")
    await add_large(plane, "large", 2)
    record = RunnerRecord(
        id="runner",
        account_id=owner,
        alias="app",
        revision="r",
        token="t",
        reference="here",
        machine_type="XS",
        started_at=1.5,
    )
    await RunnerRecords(plane.database).add(record)
    return await plane.stored_files.add(owner, pieces(LARGE * 3), name="kept.bin")


async def read_all(plane: ControlPlane, owner: str, file: StoredFile) -> Any:
    """Return what :func:`fill` has a server keep."""
    requests = QueuedRequests(plane.database)
    found = await requests.find_all(["small", "large"])
    body = plane.store.below("requests").pieces(name_body("large"), len(LARGE))
    kept = await plane.stored_files.find(file.id)
    return (
        await plane.vault.values(owner, "main", ["TOKEN"]),
        {id: (each.headers, each.body_size, each.state) for id, each in found.items()},
        await requests.begin("small", attempts=1),
        b"".join(body),
        kept,
        b"".join(plane.blobs.pieces(kept.digest, kept.size)),
        [plane.keys.read(name) for name in ("signing.key", "webhooks.key")],
        plane.keys.read_metrics_key(),
        (plane.directory.tls / "ca.pem").read_bytes(),
    )


def owner_of(database: Database) -> str:
    query = sa.text("SELECT id FROM accounts")
    found: str = database.read_here(lambda it: it.execute(query).scalar_one())
    return found


def back_up(plane: ControlPlane, path: Path) -> Made:
    return make_backup(plane.database, plane.store, plane.keys, path)


@pytest.fixture
def archive(make_settings: MakeSettings, tmp_path: Path) -> Path:
    """A backup of a new server."""

    async def main() -> None:
        plane = ControlPlane.create(make_settings("archived", "sqlite"))
        try:
            back_up(plane, tmp_path / "new.tar")
        finally:
            plane.database.close()

    asyncio.run(main())
    return tmp_path / "new.tar"


@pytest.mark.parametrize("target", ["sqlite", "postgresql"])
@pytest.mark.parametrize("source", ["sqlite", "postgresql"])
def test_server_is_made_of_a_backup(
    make_settings: MakeSettings, tmp_path: Path, source: str, target: str
):
    """
    A server that is made of a backup has the accounts, keys, secrets, requests and files of
    the other, and none of its runners. Nobody else can read the backup.
    """
    path = tmp_path / "backup.tar"

    async def first() -> tuple[str, StoredFile, Any]:
        plane = ControlPlane.create(make_settings("first", source))
        try:
            owner = owner_of(plane.database)
            file = await fill(plane, owner)
            plane.keys.share_authority()
            plane.keys.read_metrics_key()
            made = back_up(plane, path)
            assert (made.files, made.missing, made.size) == (2, 0, path.stat().st_size)
            assert plane.first_key is not None
            return owner, file, (*await read_all(plane, owner, file), plane.first_key.id)
        finally:
            plane.database.close()

    owner, file, before = asyncio.run(first())
    assert path.stat().st_mode & 0o077 == 0
    settings = make_settings("second", target)
    rows, files = restore_backup(settings, path)
    assert files == 2
    assert rows >= 7

    async def second() -> Any:
        plane = ControlPlane.create(settings)
        try:
            assert plane.first_key is None
            assert await RunnerRecords(plane.database).unfinished() == []
            key = plane.directory.read_key() or before[-1]
            return (*await read_all(plane, owner, file), key.partition(":")[0])
        finally:
            plane.database.close()

    assert asyncio.run(second()) == before


def test_backup_is_of_one_moment(make_settings: MakeSettings, tmp_path: Path):
    """
    Of requests that are accepted while a backup is made, it has the first ones with their
    files, and none of the others.
    """
    path = tmp_path / "backup.tar"

    async def main() -> int:
        plane = ControlPlane.create(make_settings("first", "sqlite"))
        made = asyncio.ensure_future(asyncio.to_thread(back_up, plane, path))
        try:
            number = 0
            while not made.done():
                number += 1
                await add_large(plane, f"r{number:05}", number)
                await plane.database.write(lambda it: it.execute(sa.text("SELECT 1")).scalar())
            assert (await made).missing == 0
            return number
        finally:
            plane.database.close()

    accepted = asyncio.run(main())
    settings = make_settings("second", "sqlite")
    restore_backup(settings, path)
    database = Database(settings.database_url)
    try:
        ids = asyncio.run(QueuedRequests(database).unfinished(lambda row: row.id))
    finally:
        database.close()
    assert ids == [f"r{number + 1:05}" for number in range(len(ids))]
    assert len(ids) <= accepted
    for id in ids:
        assert (settings.data / "requests" / name_body(id)).read_bytes() == LARGE


def test_files_that_are_gone_are_counted(make_settings: MakeSettings, tmp_path: Path):
    """A file that is missing fails no backup, which says how many are."""

    async def main() -> None:
        plane = ControlPlane.create(make_settings("first", "sqlite"))
        try:
            await add_large(plane, "one", 1)
            plane.store.below("requests").remove(name_body("one"))
            made = back_up(plane, tmp_path / "backup.tar")
            assert (made.files, made.missing) == (0, 1)
        finally:
            plane.database.close()

    asyncio.run(main())


def test_nothing_is_overwritten(make_settings: MakeSettings, archive: Path):
    """
    A backup replaces no file, and is restored into no directory and no database that a
    server has.
    """
    before = archive.read_bytes()

    async def main() -> None:
        plane = ControlPlane.create(make_settings("used", "sqlite"))
        try:
            with pytest.raises(ServerError, match="exists already"):
                back_up(plane, archive)
        finally:
            plane.database.close()

    asyncio.run(main())
    assert archive.read_bytes() == before
    used = make_settings("used", "sqlite")
    content = used.data.joinpath("state.db").read_bytes()
    with pytest.raises(ServerError, match="has the data of a server already"):
        restore_backup(used, archive)
    assert used.data.joinpath("state.db").read_bytes() == content
    postgresql = make_settings("first", "postgresql")
    restore_backup(postgresql, archive)
    other = ServerSettings(data=used.data.with_name("other"), database=postgresql.database)
    with pytest.raises(ServerError, match=r"has the state of a server already\. Restore into"):
        restore_backup(other, archive)


def test_damaged_backup_leaves_nothing(make_settings: MakeSettings, archive: Path):
    """A backup that is not whole is refused, and the same place takes a whole one afterwards."""
    content = archive.read_bytes()
    for kind in ("sqlite", "postgresql"):
        settings = make_settings(kind, kind)
        archive.write_bytes(content[: len(content.rstrip(b"\0")) - 600])
        with pytest.raises(ServerError, match="is damaged, or is not all of a backup"):
            restore_backup(settings, archive)
        archive.write_bytes(content)
        restore_backup(settings, archive)
    with pytest.raises(ServerError, match="cannot be read: No such file"):
        restore_backup(make_settings("none", "sqlite"), archive.with_name("none.tar"))


def test_backup_of_another_version(make_settings: MakeSettings, archive: Path, tmp_path: Path):
    """
    Tables of an earlier layout are changed to be those of this version, and those of a newer
    one are refused.
    """

    def pack(layout: int) -> Path:
        from fal_server.backups.archives import ArchiveReader, ArchiveWriter, Head

        path = tmp_path / f"{layout}.tar"
        with archive.open("rb") as source, path.open("wb") as target:
            reader = ArchiveReader(source, "archive")
            writer = ArchiveWriter(target, Head(layout=layout))
            for name, content in reader.members():
                if not name.startswith("tables/state_keys"):
                    writer.add(name, b"".join(content))
            writer.close()
            reader.close()
        return path

    settings = make_settings("earlier", "sqlite")
    restore_backup(settings, pack(2))
    database = Database(settings.database_url)
    try:
        assert database.read_here(find_layout) == LAYOUT
    finally:
        database.close()
    with pytest.raises(DataTooNew):
        restore_backup(make_settings("newer", "sqlite"), pack(LAYOUT + 1))


def test_files_elsewhere_are_refused(make_settings: MakeSettings, tmp_path: Path):
    """A backup with files that are none of a server writes none of them."""
    from fal_server.backups.archives import ArchiveWriter, Head

    for number, name in enumerate(("files/../../evil", "files/other/evil", "files//evil")):
        path = tmp_path / f"{number}.tar"
        with path.open("wb") as file:
            writer = ArchiveWriter(file, Head(layout=LAYOUT))
            writer.add(name, b"evil")
            writer.close()
        with pytest.raises(ServerError, match="which is none of a server"):
            restore_backup(make_settings(f"evil-{number}", "sqlite"), path)
    assert not list(tmp_path.rglob("evil"))
