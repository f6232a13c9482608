"""The routes for files that anybody with their URL may read."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import threading
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from typing import Any

import httpx
import pytest


def initiate(client: httpx.Client, path: str = "initiate", **headers: str) -> Any:
    answer = client.post(
        f"/storage/upload/{path}",
        params={"storage_type": "fal-cdn-v3"},
        json={"file_name": "greet ings.txt", "content_type": "text/plain"},
        headers=headers,
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_stored_file_is_read_by_anybody(plane):
    """An upload starts with a key, and the file is read without one."""
    with plane.client() as client, httpx.Client(trust_env=False, timeout=60) as anybody:
        urls = initiate(client)
        assert anybody.get(urls["file_url"]).status_code == 404
        content = secrets.token_bytes(300_000)
        put = anybody.put(
            urls["upload_url"], content=content, headers={"Content-Type": "text/plain"}
        )
        assert put.status_code == 200, put.text
        answer = anybody.get(urls["file_url"])
        assert answer.content == content
        assert answer.headers["content-type"] == "text/plain"
        assert answer.headers["x-content-type-options"] == "nosniff"
        part = anybody.get(urls["file_url"], headers={"Range": "bytes=10-19"})
        assert (part.status_code, part.content) == (206, content[10:20])


def test_stored_file_in_parts(plane):
    """A large file is joined from its parts, in the order of their numbers."""
    with plane.client() as client, httpx.Client(trust_env=False, timeout=60) as anybody:
        urls, parts = initiate(client, "initiate-multipart"), []
        for number in (2, 1):
            put = anybody.put(f"{urls['upload_url']}/{number}", content=bytes([number]) * 10)
            parts.append({"partNumber": number, "etag": put.headers["ETag"]})
        done = anybody.post(
            f"{urls['upload_url']}/complete",
            json={"parts": sorted(parts, key=lambda part: part["partNumber"])},
        )
        assert done.status_code == 200, done.text
        assert anybody.get(urls["file_url"]).content == b"\1" * 10 + b"\2" * 10


def test_upload_that_is_completed_twice_at_once(plane):
    """
    Where an upload is completed again meanwhile, its parts are joined once, and the second
    client is told so.
    """
    with (
        plane.client() as client,
        ThreadPoolExecutor() as threads,
        httpx.Client(trust_env=False, timeout=60) as anybody,
    ):
        urls = initiate(client, "initiate-multipart")
        assert anybody.put(f"{urls['upload_url']}/1", content=b"part").status_code == 200
        told = {"parts": [{"part_number": 1}]}
        # Until it is set, nothing is recorded.
        goes_on = threading.Event()
        holding = threads.submit(
            plane.run, plane.plane.database.write(lambda _: goes_on.wait())
        )
        try:
            completing = [
                threads.submit(anybody.post, f"{urls['upload_url']}/complete", json=told)
                for _ in range(2)
            ]
            ended, held = wait(completing, timeout=60, return_when=FIRST_COMPLETED)
            answers = [each.result() for each in ended]
        finally:
            goes_on.set()
        assert holding.result()
        assert [each.status_code for each in answers] == [409]
        assert answers[0].json()["detail"] == "The upload is being completed already."
        assert [each.result().status_code for each in held] == [200]
        assert anybody.get(urls["file_url"]).content == b"part"


def test_stored_file_whose_client_asks_for_the_url_of_each_part(plane):
    """A client may ask for the URL of each part."""
    with plane.client() as client, httpx.Client(trust_env=False, timeout=60) as anybody:
        urls, parts = initiate(client, "initiate-multipart"), []
        for number in (1, 2):
            where = client.post(f"{urls['upload_url']}/{number}").json()["upload_url"]
            put = anybody.put(where, content=bytes([number]) * 10)
            parts.append({"part_number": number, "etag": put.headers["ETag"].strip('"')})
        done = client.post(f"{urls['upload_url']}/complete", json={"parts": parts})
        assert done.status_code == 200, done.text
        assert anybody.get(urls["file_url"]).content == b"\1" * 10 + b"\2" * 10


def test_files_expire(plane):
    """A file is gone once its lifetime is over, and so is its content."""
    life = json.dumps({"expiration_duration_seconds": 0.000001})
    with plane.client() as client, httpx.Client(trust_env=False, timeout=60) as anybody:
        urls = initiate(client, **{"X-Fal-Object-Lifecycle": life})
        content = secrets.token_bytes(1000)
        assert anybody.put(urls["upload_url"], content=content).status_code == 200
        assert anybody.get(urls["file_url"]).status_code == 404
    name = plane.plane.blobs.name_of(hashlib.sha256(content).hexdigest())
    path = plane.directory.path / "blobs" / name
    # It was not stored a moment ago.
    os.utime(path, (1, 1))
    plane.run(plane.plane.stored_files.drop_expired())
    assert not path.exists()


def test_content_with_a_digest_has_one_url(plane):
    """
    The same content of an account has one URL if its digest is announced, and a later upload
    never shortens its lifetime. Other accounts, and uploads without a digest, get other URLs.
    """
    content = secrets.token_bytes(1000)
    digest = {"X-Fal-Core-Digest": hashlib.sha256(content).hexdigest()}
    brief = {"X-Fal-Object-Lifecycle": json.dumps({"expiration_duration_seconds": 0.000001})}
    other = plane.add_user("neighbour")
    with (
        plane.client() as client,
        plane.client(other) as elsewhere,
        httpx.Client(trust_env=False, timeout=60) as anybody,
    ):
        urls = [initiate(client, **digest) for _ in range(2)]
        assert urls[0]["file_url"] == urls[1]["file_url"]
        assert urls[0]["file_url"] not in {
            initiate(elsewhere, **digest)["file_url"],
            initiate(client)["file_url"],
        }
        wrong = anybody.put(urls[0]["upload_url"], content=b"other")
        assert wrong.status_code == 422, wrong.text
        assert anybody.get(urls[0]["file_url"]).status_code == 404
        assert anybody.put(urls[0]["upload_url"], content=content).status_code == 200
        again = initiate(client, **digest, **brief)
        assert anybody.put(again["upload_url"], content=content).status_code == 200
        assert anybody.get(urls[0]["file_url"]).content == content
        malformed = {"X-Fal-Core-Digest": "0"}
        answer = client.post("/storage/upload/initiate", json={}, headers=malformed)
        assert answer.status_code == 422


@pytest.mark.parametrize("token", ["x", "a.b.c", "..%2f..%2fx"])
def test_upload_url_with_a_forged_token(plane, token):
    """An upload URL that the server did not create is refused."""
    with plane.client() as client:
        answer = client.put(f"/storage/uploads/{token}", content=b"x")
    assert answer.status_code in {401, 404}


def test_upload_needs_the_permission(plane):
    """A key that may only read cannot upload."""
    reader = plane.add_user("onlooker", preset="READONLY")
    with plane.client(reader) as client:
        assert client.post("/storage/upload/initiate", json={}).status_code == 403
        assert client.post("/files/missing_hashes", json={"hashes": []}).status_code == 403


def test_large_body_is_refused(plane):
    """A body over the limit is refused before all of it is read."""
    with plane.client() as client:
        answer = client.post("/files/missing_hashes", content=b" " * (9 << 20))
    assert answer.status_code == 413


def test_files_are_read_through_the_proxy(make_plane):
    """
    A client that comes through a proxy uploads through it. Whoever uploads, the URL of the
    file is the public one, as others read it.
    """
    plane = make_plane(public={"api": "api.example"})
    with plane.client() as client:
        direct, through = initiate(client), initiate(client, Host="api.example")
        sent = client.post("/files/upload", content=b"abc", headers={"X-Fal-File-Name": "a"})
    assert direct["upload_url"].startswith(f"http://127.0.0.1:{plane.plane.ports['api']}/")
    assert through["upload_url"].startswith("https://api.example/storage/uploads/")
    for url in (direct["file_url"], through["file_url"], sent.json()["access_url"]):
        assert url.startswith("https://api.example/storage/files/")
