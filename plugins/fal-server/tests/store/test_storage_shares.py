"""Storage shares: what an account may upload, and what becomes of the rest."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from fal_server.errors import TooLarge, TooMany
from fal_server.limits import Limits
from fal_server.state.databases import Database
from fal_server.state.file_stores import FolderStore
from fal_server.store import storage_shares
from fal_server.store.accounts import make_account
from fal_server.store.blobs import Blobs
from fal_server.store.storage_shares import StorageShares
from fal_server.store.uploads import StoredFiles

MODE = "33188"

#: The bytes that an account may store.
ROOM = 1 << 20


def begin(client: httpx.Client, content: bytes = b"") -> tuple[str, httpx.Response]:
    hash = hashlib.sha256(content + MODE.encode()).hexdigest()
    path = f"/files/app/multipart/{hash}"
    return path, client.post(f"{path}/initiate", json={})


def put(client: httpx.Client, path: str, number: int, content: bytes) -> httpx.Response:
    file = ("chunk", content, "application/octet-stream")
    return client.put(f"{path}/{number}", files={"file_upload": file})


def upload(client: httpx.Client, content: bytes, **headers: str) -> httpx.Response:
    return client.post("/files/upload", content=content, headers=headers)


def test_uploads_begun_are_limited(make_plane: Any):
    """
    An account that has begun too many uploads is asked to try again later; it has room
    again once it has cancelled or completed one, and other accounts always had.
    """
    plane = make_plane(limits=Limits(most_uploads=2))
    with plane.client() as client, plane.client(plane.add_user("other")) as other:
        path, begun = begin(client)
        id = begun.json()["upload_id"]
        initiate = "/storage/upload/initiate-multipart"
        named = {"file_name": "a", "content_type": "text/plain"}
        assert client.post(initiate, json=named).status_code == 200
        for refused in (client.post(initiate, json=named), begin(client)[1]):
            assert refused.status_code == 429
            assert int(refused.headers["Retry-After"]) > 0
            assert refused.json()["detail"].startswith("The account has begun 2 uploads")
        assert begin(other)[1].status_code == 200
        assert client.post(f"{path}/{id}/cancel").status_code == 200
        assert begin(client)[1].status_code == 200


def test_uploads_begun_at_once_are_limited(database: Database, tmp_path: Path):
    """Of uploads that an account begins at the same time, no more begin than it may have."""

    async def main() -> None:
        blobs = Blobs(FolderStore(tmp_path / "blobs"))
        shares = StorageShares(database, blobs, Limits(most_uploads=3))
        # What the account has is counted now.
        await shares.begin("a")
        begun = await asyncio.gather(
            *(shares.begin("a") for _ in range(20)), return_exceptions=True
        )
        assert sum(isinstance(each, TooMany) for each in begun) == 18
        assert blobs.count_begun("a") == 3

    asyncio.run(main())


def test_bytes_are_limited(make_plane: Any, monkeypatch: pytest.MonkeyPatch):
    """
    An account cannot store more than it may, in whatever way it is sent, and nothing of the
    rest stays. Deleted files make room.
    """
    monkeypatch.setattr(storage_shares, "_AGAIN", 0.0)
    plane = make_plane(limits=Limits(largest_storage=ROOM))
    with plane.client() as client, plane.client(plane.add_user("other")) as other:
        lives = {"X-Fal-Object-Lifecycle": '{"expiration_duration_seconds": 0.001}'}
        assert upload(client, bytes(ROOM // 2), **lives).status_code == 200
        path, begun = begin(client)
        id = begun.json()["upload_id"]
        assert put(client, f"{path}/{id}", 1, bytes(ROOM // 4)).status_code == 200
        named = {"file_name": "a", "content_type": "text/plain"}
        url = client.post("/storage/upload/initiate", json=named).json()["upload_url"]
        for refused in (
            upload(client, bytes(ROOM // 2)),
            put(client, f"{path}/{id}", 2, bytes(ROOM // 2)),
            httpx.put(url, content=bytes(ROOM // 2), trust_env=False),
        ):
            assert refused.status_code == 413
            detail = refused.json()["detail"]
            assert detail.startswith("The files of the account have 1M already")
        left = plane.settings.data / "blobs" / "uploads"
        assert sum(each.stat().st_size for each in left.rglob("*.new")) == 0
        assert upload(other, bytes(ROOM // 2)).status_code == 200
        plane.run(plane.plane.stored_files.drop_expired())
        assert upload(client, bytes(ROOM // 2)).status_code == 200


def test_files_are_limited(make_plane: Any):
    """Files without content count too, and so do the parts of an upload."""
    plane = make_plane(limits=Limits(most_files=4))
    with plane.client() as client:
        assert upload(client, b"a").status_code == 200
        path, begun = begin(client)
        id = begun.json()["upload_id"]
        for number in (1, 2, 3):
            assert put(client, f"{path}/{id}", number, b"").status_code == 200
        refused = put(client, f"{path}/{id}", 4, b"")
        assert refused.status_code == 413
        assert refused.json()["detail"].startswith("The account has 4 files and parts")
        assert upload(client, b"b").status_code == 413


def test_a_part_is_named_once(make_plane: Any):
    """A part that is named twice is refused: an account could store more than it has sent."""
    with make_plane().client() as client:
        path, begun = begin(client, b"aa")
        path = f"{path}/{begun.json()['upload_id']}"
        assert put(client, path, 1, b"a").status_code == 200
        told = {"parts": [{"part_number": 1}] * 2, "metadata": {"mode": 0o644}}
        refused = client.post(f"{path}/complete", json=told)
        assert refused.status_code == 422, refused.text
        assert "named twice" in refused.text


def test_a_content_counts_once(database: Database, tmp_path: Path):
    """
    What an account stores twice takes room once, and what it has stored is counted by the
    next server too.
    """

    async def main() -> None:
        blobs = Blobs(FolderStore(tmp_path))
        files = StoredFiles(database, blobs)
        account = await database.write(lambda each: make_account(each, "user", "ann").id)
        limits = Limits(largest_storage=40_000)

        async def send(shares: StorageShares, content: bytes) -> None:
            await files.add(account, shares.admit(account, chunks_of(content)))

        first = StorageShares(database, blobs, limits)
        for _ in range(5):
            await send(first, bytes(15_000))
        second = StorageShares(database, blobs, limits)
        await send(second, b"a" * 15_000)
        with pytest.raises(TooLarge):
            await send(second, b"b" * 15_000)

    asyncio.run(main())


def test_parts_that_arrive_count_once(database: Database, tmp_path: Path):
    """
    Parts that just fit are taken, also where they are counted while several arrive; one that
    does not fit is refused then.
    """
    limits = Limits(largest_storage=3 * ROOM + 10 * 4096)

    async def main() -> None:
        blobs = Blobs(FolderStore(tmp_path / "blobs"))
        shares = StorageShares(database, blobs, limits)
        id = await shares.begin("a")
        writing: list[int] = []
        are_written = asyncio.Event()

        async def chunks(number: int) -> AsyncIterator[bytes]:
            # All have begun before one of them is counted.
            writing.append(number)
            yield b"."
            if len(writing) == 3:
                are_written.set()
            await are_written.wait()
            async for chunk in chunks_of(bytes(ROOM - 1)):
                yield chunk
                await asyncio.sleep(0)

        async def send(number: int) -> None:
            sent = shares.admit("a", chunks(number))
            await blobs.add_part("a", id, number, sent, size=ROOM)

        # By now the account may have all that its limit allows, and must be counted.
        for _ in range(3):
            other = await shares.begin("a")
            content = shares.admit("a", chunks_of(bytes(ROOM)))
            await blobs.add_part("a", other, 1, content, size=ROOM)
            await blobs.cancel("a", other)
        await asyncio.gather(send(1), send(2), send(3))
        assert sorted(blobs.measure_parts("a")) == [ROOM] * 3
        with pytest.raises(TooLarge):
            await send(4)

    asyncio.run(main())


async def chunks_of(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), 4096):
        yield content[start : start + 4096]
