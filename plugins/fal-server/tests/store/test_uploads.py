"""Uploads: the files of applications, and files for others to read."""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import s3_servers
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from fal_server.errors import Invalid, NotFound
from fal_server.state.databases import Database
from fal_server.state.file_stores import FolderStore
from fal_server.state.opened_stores import open_files
from fal_server.store.accounts import make_account
from fal_server.store.blobs import Blobs
from fal_server.store.uploads import AppFiles, StoredFiles, safe_name, stored_files

MODE = 0o100644


def hash_of(content: bytes, mode: int = MODE) -> str:
    return hashlib.sha256(content + str(mode).encode()).hexdigest()


def send(
    client: httpx.Client, content: bytes, *, mode: int = MODE, hash: str = "", size: int = 1000
) -> httpx.Response:
    """Upload as the clients do."""
    hash = hash or hash_of(content, mode)
    path = f"/files/app/multipart/{hash}"
    begun = client.post(f"{path}/initiate", json={"mode": str(mode), "hash": hash})
    if begun.status_code != 200:
        return begun
    id, parts = begun.json()["upload_id"], []
    for start in range(0, len(content) or 1, size):
        file = ("chunk", content[start : start + size], "application/octet-stream")
        number = start // size + 1
        answer = client.put(f"{path}/{id}/{number}", files={"file_upload": file})
        assert answer.status_code == 200, answer.text
        parts.append(answer.json())
    told = {"parts": parts, "metadata": {"mode": str(mode), "hash": hash}}
    return client.post(f"{path}/{id}/complete", json=told)


def missing(client: httpx.Client, *hashes: str) -> Any:
    answer = client.post("/files/missing_hashes", json={"hashes": hashes})
    assert answer.status_code == 200, answer.text
    return answer.json()


def account_of(client: httpx.Client) -> str:
    return client.get("/users/current").json()["user_id"]


@pytest.mark.parametrize("size", [0, 1, 999, 1000, 1001, 25_000])
def test_file_is_uploaded_once(plane, tmp_path, size):
    """
    A file of an application is missing, is sent in parts, is there, and is placed with
    its content and mode.
    """
    content, mode = secrets.token_bytes(size) + b"!" * (size > 0), 0o100755
    hash = hash_of(content, mode)
    with plane.client() as client:
        account = account_of(client)
        if size:
            assert missing(client, hash, hash) == [hash]
        answer = send(client, content, mode=mode)
        assert answer.status_code in ({200} if size else {200, 409}), answer.text
        assert missing(client, hash) == []
        assert send(client, content, mode=mode).status_code == 409
    place = plane.plane.files.place
    plane.run(place(account, [(hash, "a/b/c.bin"), (hash, "d")], tmp_path))
    assert (tmp_path / "a/b/c.bin").read_bytes() == (tmp_path / "d").read_bytes() == content
    assert (tmp_path / "d").stat().st_mode & 0o777 == 0o755


def test_placed_files_are_the_applications_own(plane, tmp_path):
    """An application that changes a file changes it for itself alone."""
    content = secrets.token_bytes(100)
    with plane.client() as client:
        send(client, content)
        account = account_of(client)
    place = plane.plane.files.place
    plane.run(place(account, [(hash_of(content), "f")], tmp_path / "one"))
    (tmp_path / "one" / "f").write_bytes(b"changed")
    plane.run(place(account, [(hash_of(content), "f")], tmp_path / "two"))
    assert (tmp_path / "two" / "f").read_bytes() == content


def test_file_of_another_account_is_not_there(plane, tmp_path):
    """Knowing a hash gives no access to another account's file."""
    content = secrets.token_bytes(100)
    hash = hash_of(content)
    with plane.client() as client:
        send(client, content)
    with plane.client(plane.add_user("other")) as client:
        assert missing(client, hash) == [hash]
        account = account_of(client)
        with pytest.raises(NotFound):
            plane.run(plane.plane.files.place(account, [(hash, "f")], tmp_path))
        assert send(client, content).status_code == 200
        assert missing(client, hash) == []


def test_content_with_another_hash_is_refused(plane):
    """A file whose hash is another is refused, and stays missing."""
    hash = "0" * 64
    with plane.client() as client:
        answer = send(client, b"something else", hash=hash)
        assert answer.status_code == 422
        assert missing(client, hash) == [hash]
    kept = hash_of(b"something else")
    assert not plane.plane.blobs.files.has(plane.plane.blobs.name_of(kept))


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/files/missing_hashes", {"hashes": ["../../../etc/passwd"]}),
        ("POST", "/files/missing_hashes", {"hashes": "0" * 64}),
        ("POST", "/files/missing_hashes", {"hashes": [None]}),
        ("POST", "/files/missing_hashes", []),
        ("POST", "/files/app/multipart/..%2f..%2fowner.key/initiate", {}),
        ("PUT", f"/files/app/multipart/{'0' * 64}/..%2f..%2f..%2fx/1", {}),
        ("PUT", f"/files/app/multipart/{'0' * 64}/{'0' * 32}/..%2fx", {}),
        ("PUT", f"/files/app/multipart/{'0' * 64}/{'0' * 32}/1", {}),
        ("POST", f"/files/app/multipart/{'0' * 64}/..%2f..%2f/cancel", {}),
        ("POST", f"/files/app/multipart/{'0' * 64}/{'0' * 32}/complete", {"parts": [1]}),
        (
            "POST",
            f"/files/app/multipart/{'0' * 64}/{'0' * 32}/complete",
            {"parts": [{"part_number": "../../owner.key"}], "metadata": {"mode": "1"}},
        ),
        ("GET", "/storage/files/..%2f..%2f..%2fowner.key/x", None),
        ("GET", "/storage/files/../../owner.key", None),
    ],
)
def test_paths_outside_of_the_folder_are_refused(plane, method, path, body):
    """Only hashes, numbers and ids reach a file."""
    with plane.client() as client:
        answer = client.request(method, path, json=body)
    assert answer.status_code in {404, 405, 422, 501}, answer.text
    assert plane.key.partition(":")[2] not in answer.text


@pytest.mark.parametrize(
    "path", ["", "/etc/x", "../x", "a/../../x", "a\\b", "a\0b", ".", "..", "/"]
)
def test_files_are_placed_below_their_folder(plane, tmp_path, path):
    """A path that leads out of the folder places nothing."""
    content = b"content"
    with plane.client() as client:
        send(client, content)
        account = account_of(client)
    folder = tmp_path / "inner"
    folder.mkdir()
    place = plane.plane.files.place(account, [(hash_of(content), path)], folder)
    with pytest.raises(Invalid):
        plane.run(place)
    assert [*tmp_path.rglob("*")] == [folder]


@given(st.text(max_size=300))
def test_safe_names_are_one_segment_of_a_url(name):
    """Any name of a file becomes one segment of a path."""
    found = safe_name(name)
    assert found
    assert len(found) <= 200
    assert set(found).isdisjoint("/\\?#%\0\r\n \"'")
    assert not found.startswith(".")


def test_many_files_expire_at_once(database: Database, tmp_path: Path):
    """
    However many files have expired since the last round, all of them are deleted, with the
    contents that no other file has.
    """
    blobs = Blobs(FolderStore(tmp_path))
    files = StoredFiles(database, blobs)

    async def content(word: bytes) -> AsyncIterator[bytes]:
        yield word

    def limit(connection: sa.Connection) -> str:
        """Allow a statement few parameters, where Python can, and make an account."""
        driver: Any = connection.connection.dbapi_connection
        if hasattr(driver, "setlimit"):
            driver.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 20)
        return make_account(connection, "user", "owner").id

    async def main() -> None:
        owner = await database.write(limit)
        kept = await files.add(owner, content(b"kept"))
        again = await files.add(owner, content(b"kept"), seconds=-1)
        lost = [await files.add(owner, content(b"%d" % it), seconds=-1) for it in range(30)]
        assert again.digest == kept.digest
        for each in lost[1:]:
            os.utime(tmp_path / blobs.name_of(each.digest), (1, 1))
        await files.drop_expired()
        left = await database.read(lambda it: list(it.scalars(sa.select(stored_files.c.id))))
        assert left == [kept.id]
        assert b"".join(blobs.pieces(kept.digest, 4)) == b"kept"
        # One that was stored a moment ago may be somebody else's by now.
        found = [blobs.files.has(blobs.name_of(each.digest)) for each in lost]
        assert found == [True] + [False] * 29

    asyncio.run(main())


def test_upload_of_another_account(plane):
    """
    Nobody can add to an upload of another account, complete it or cancel it, even with its
    id: it is as if there were none.
    """
    content = secrets.token_bytes(10)
    path = f"/files/app/multipart/{hash_of(content)}"
    file = ("chunk", content, "application/octet-stream")
    told = {"parts": [{"part_number": 1}], "metadata": {"mode": str(MODE)}}
    key = plane.add_user("pirate")
    with plane.client() as client, plane.client(key) as stranger:
        id = client.post(f"{path}/initiate", json={}).json()["upload_id"]
        for each, status in ((stranger, 404), (client, 200)):
            put = each.put(f"{path}/{id}/1", files={"file_upload": file})
            assert put.status_code == status
        for route in ("complete", "cancel"):
            assert stranger.post(f"{path}/{id}/{route}", json=told).status_code == 404
        assert client.post(f"{path}/{id}/complete", json=told).status_code == 200


def test_contents_of_nobody_are_dropped(database: Database, tmp_path: Path):
    """
    A content that was stored by a server that was killed before it recorded whose it is, is
    dropped after a day; one that a file has stays, however old it is.
    """

    async def main() -> None:
        blobs = Blobs(FolderStore(tmp_path))
        files = StoredFiles(database, blobs)
        account = await database.write(lambda each: make_account(each, "user", "ann").id)
        kept = await files.add(account, chunks_of(b"kept"))
        old, new = [await blobs.keep(chunks_of(each)) for each in (b"old", b"new")]
        for digest in (kept.digest, old.digest):
            os.utime(tmp_path / blobs.name_of(digest), (1, 1))
        await files.drop_unused()
        found = [blobs.files.has(blobs.name_of(each.digest)) for each in (kept, old, new)]
        assert found == [True, False, True]
        os.utime(tmp_path / blobs.name_of(new.digest), (1, 1))
        assert await blobs.keep(chunks_of(b"new")) == new
        blobs.drop(new.digest)
        assert blobs.files.has(blobs.name_of(new.digest))

    asyncio.run(main())


async def chunks_of(content: bytes) -> AsyncIterator[bytes]:
    yield content


def test_files_of_an_application_in_an_object_store(
    database: Database, s3: Any, tmp_path: Path
):
    """
    Files that lie in an object store are copied to where an application has them, with their
    modes; the parts that they were sent in are gone.
    """
    store = open_files(f"s3://{s3_servers.BUCKET}/{secrets.token_hex(8)}", tmp_path / "data")
    blobs = Blobs(store)
    files = AppFiles(database, blobs)
    contents = {f"a/{number}": b"%d" % number * 5000 for number in range(20)}

    async def main() -> None:
        account = await database.write(lambda each: make_account(each, "user", "ann").id)
        wanted = []
        for path, content in contents.items():
            id = await blobs.begin(account)
            for number, part in enumerate((content[:999], content[999:]), 1):
                await blobs.add_part(account, id, number, chunks_of(part))
            hash = hash_of(content)
            await files.complete(account, hash, id, [1, 2], mode=MODE)
            wanted.append((hash, path))
        assert blobs.count_begun(account) == 0
        await files.place(account, wanted, tmp_path / "files", shares=True)

    asyncio.run(main())
    for path, content in contents.items():
        file = tmp_path / "files" / path
        assert (file.read_bytes(), file.stat().st_mode & 0o777) == (content, MODE & 0o777)
    assert len([*store.find("contents")]) == len(contents)
    assert not [*store.find("uploads")]
    assert not any(each.is_file() for each in (tmp_path / "data").rglob("*"))
