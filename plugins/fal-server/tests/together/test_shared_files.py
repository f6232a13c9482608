"""Files in an object store: all that a server keeps outside its database, and nothing of it here."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import httpx
import pytest
import s3_servers

#: The most that is kept in the database, and more.
LARGE = "x" * 300_000


@pytest.fixture(scope="module")
def distant(
    s3_of_session: Any,
    make_standing: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> Any:
    """A server whose files lie in an object store, with an application."""
    url = f"s3://{s3_servers.BUCKET}/{uuid.uuid4().hex}"
    made = make_standing(
        tmp_path_factory.mktemp("distant"),
        *("--files", url),
        variables=s3_of_session.variables,
    )
    made.deploy("app")
    return made


def here(standing: Any) -> list[str]:
    """Return the files of contents and bodies in the data directory."""
    data: Path = standing.plane.data
    folders = ("blobs", "requests", "spool")
    return [
        each.name for name in folders for each in (data / name).rglob("*") if each.is_file()
    ]


def test_queued_request_of_any_size(distant: Any):
    """
    A large body of a queued request, and a large response to it, lie in the store, and are
    there for the next server.
    """
    told = {"name": LARGE}
    id = distant.submit("app/echo", told)
    answer = distant.finish("app", id)
    assert (answer.status_code, answer.json()["told"]) == (200, told)
    distant.plane.kill()
    distant.plane.start()
    assert distant.finish("app", id).json()["told"] == told
    assert not here(distant)


def test_file_in_parts(distant: Any):
    """A file that is sent in parts is joined, and is read as a whole or in ranges."""
    content = bytes(range(256)) * 50_000
    parts = [content[start : start + 5_000_000] for start in range(0, len(content), 5_000_000)]
    with distant.plane.client() as client, httpx.Client(trust_env=False, timeout=60) as anybody:
        urls = client.post(
            "/storage/upload/initiate-multipart",
            json={"file_name": "a.bin", "content_type": "application/octet-stream"},
        ).json()
        for number, part in reversed([*enumerate(parts, 1)]):
            put = anybody.put(f"{urls['upload_url']}/{number}", content=part)
            assert put.status_code == 200, put.text
        done = {"parts": [{"part_number": number} for number, _ in enumerate(parts, 1)]}
        joined = anybody.post(f"{urls['upload_url']}/complete", json=done)
        assert joined.status_code == 200, joined.text
        whole = anybody.get(urls["file_url"])
        assert (whole.status_code, whole.content == content) == (200, True)
        assert whole.headers["Content-Type"] == "application/octet-stream"
        ranges = {
            "bytes=0-9": range(10),
            "bytes=9999990-": range(9_999_990, len(content)),
            "bytes=-3": range(len(content) - 3, len(content)),
        }
        for asked, where in ranges.items():
            found = anybody.get(urls["file_url"], headers={"Range": asked})
            expected = content[where.start : where.stop]
            assert (found.status_code, found.content) == (206, expected), asked
            told = f"bytes {where.start}-{where.stop - 1}/{len(content)}"
            assert found.headers["Content-Range"] == told
        for asked in ("bytes=99999999-", "bytes=x"):
            found = anybody.get(urls["file_url"], headers={"Range": asked})
            assert (found.status_code, found.content) == (416, b""), asked
        assert anybody.post(f"{urls['upload_url']}/complete", json=done).status_code == 404
    assert not here(distant)


def test_runner_does_not_see_what_the_store_is_reached_with(distant: Any):
    """The credentials of the store are the server's alone."""
    id = distant.submit("app/look")
    found = distant.finish("app", id).json()["variables"]
    assert s3_servers.CREDENTIALS["AWS_SECRET_ACCESS_KEY"] not in json.dumps(found)
    assert found.keys().isdisjoint(s3_servers.CREDENTIALS)
