"""
The routes for files that others may read.
"""

from __future__ import annotations

import hashlib
import json
import secrets
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
    """
    Who may upload is told where to; what was put there is read without a key.
    """
    with plane.client() as client, httpx.Client(trust_env=False, timeout=60) as anybody:
        told = initiate(client)
        assert anybody.get(told["file_url"]).status_code == 404
        content = secrets.token_bytes(300_000)
        put = anybody.put(
            told["upload_url"], content=content, headers={"Content-Type": "text/plain"}
        )
        assert put.status_code == 200, put.text
        answer = anybody.get(told["file_url"])
        assert answer.content == content
        assert answer.headers["content-type"] == "text/plain"
        assert answer.headers["x-content-type-options"] == "nosniff"
        part = anybody.get(told["file_url"], headers={"Range": "bytes=10-19"})
        assert (part.status_code, part.content) == (206, content[10:20])


def test_stored_file_in_parts(plane):
    """
    A large file is put together of its parts, in the order of their numbers.
    """
    with plane.client() as client, httpx.Client(trust_env=False, timeout=60) as anybody:
        told, parts = initiate(client, "initiate-multipart"), []
        for number in (2, 1):
            put = anybody.put(f"{told['upload_url']}/{number}", content=bytes([number]) * 10)
            parts.append({"partNumber": number, "etag": put.headers["ETag"]})
        done = anybody.post(
            f"{told['upload_url']}/complete",
            json={"parts": sorted(parts, key=lambda part: part["partNumber"])},
        )
        assert done.status_code == 200, done.text
        assert anybody.get(told["file_url"]).content == b"\1" * 10 + b"\2" * 10


def test_stored_file_in_parts_as_the_other_service_does(plane):
    """
    The same works for clients that ask where each part goes.
    """
    with plane.client() as client, httpx.Client(trust_env=False, timeout=60) as anybody:
        told, parts = initiate(client, "initiate-multipart"), []
        for number in (1, 2):
            where = client.post(f"{told['upload_url']}/{number}").json()["upload_url"]
            put = anybody.put(where, content=bytes([number]) * 10)
            parts.append({"part_number": number, "etag": put.headers["ETag"].strip('"')})
        done = client.post(f"{told['upload_url']}/complete", json={"parts": parts})
        assert done.status_code == 200, done.text
        assert anybody.get(told["file_url"]).content == b"\1" * 10 + b"\2" * 10


def test_files_expire(plane):
    """
    A file that was sent for a while is gone then, and its content with it.
    """
    life = json.dumps({"expiration_duration_seconds": 0.000001})
    with plane.client() as client, httpx.Client(trust_env=False, timeout=60) as anybody:
        told = initiate(client, **{"X-Fal-Object-Lifecycle": life})
        content = secrets.token_bytes(1000)
        assert anybody.put(told["upload_url"], content=content).status_code == 200
        assert anybody.get(told["file_url"]).status_code == 404
    path = plane.plane.blobs.path_of(hashlib.sha256(content).hexdigest())
    assert path.exists()
    plane.run(plane.plane.stored_files.drop_expired())
    assert not path.exists()


def test_content_that_is_told_before_has_one_place(plane):
    """
    The same content of an account is at one address, for as long as it was sent for
    last; another account's is elsewhere, and so is what is not told.
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
        told = [initiate(client, **digest) for _ in range(2)]
        assert told[0]["file_url"] == told[1]["file_url"]
        assert told[0]["file_url"] not in {
            initiate(elsewhere, **digest)["file_url"],
            initiate(client)["file_url"],
        }
        wrong = anybody.put(told[0]["upload_url"], content=b"other")
        assert wrong.status_code == 422, wrong.text
        assert anybody.get(told[0]["file_url"]).status_code == 404
        assert anybody.put(told[0]["upload_url"], content=content).status_code == 200
        again = initiate(client, **digest, **brief)
        assert anybody.put(again["upload_url"], content=content).status_code == 200
        assert anybody.get(told[0]["file_url"]).content == content
        malformed = {"X-Fal-Core-Digest": "0"}
        answer = client.post("/storage/upload/initiate", json={}, headers=malformed)
        assert answer.status_code == 422


@pytest.mark.parametrize("token", ["x", "a.b.c", "..%2f..%2fx"])
def test_nobody_uploads_without_being_told_where(plane, token):
    """
    A url to upload to that the server did not give is refused.
    """
    with plane.client() as client:
        answer = client.put(f"/storage/uploads/{token}", content=b"x")
    assert answer.status_code in {401, 404}


def test_upload_asks_for_the_permission(plane):
    """
    A key that may only read does not upload.
    """
    reader = plane.add_user("onlooker", preset="READONLY")
    with plane.client(reader) as client:
        assert client.post("/storage/upload/initiate", json={}).status_code == 403
        assert client.post("/files/missing_hashes", json={"hashes": []}).status_code == 403


def test_large_body_is_refused(plane):
    """
    A body that is larger than a route takes is refused, not read to its end.
    """
    with plane.client() as client:
        answer = client.post("/files/missing_hashes", content=b" " * (9 << 20))
    assert answer.status_code == 413
