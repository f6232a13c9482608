"""The bodies of webhooks."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from queued import make_request

from fal_server.queue import webhook_bodies
from fal_server.queue.webhook_bodies import LARGEST, make_body
from fal_server.state.bodies import SMALL, Body, BodyFiles
from fal_server.state.file_stores import FolderStore


def body_of(answer: Body, **fields: Any) -> bytes:
    """Return the body of the webhook of a request with this response."""

    async def main() -> bytes:
        given = {"status": 200, "answer_size": answer.size, **fields}
        body = await make_body(make_request(**given), answer, asyncio.Lock())
        whole = b"".join([each async for each in body.pieces()])
        assert len(whole) == body.size
        assert await body.digest() == hashlib.sha256(whole).hexdigest()
        return whole

    return asyncio.run(main())


def store(folder: Path, content: bytes) -> Body:
    """Return a body that has arrived."""

    async def main() -> Body:
        with BodyFiles(FolderStore(folder / "bodies")).receive(
            "one", largest=1 << 30
        ) as incoming:
            await incoming.write(content)
            incoming.keep()
            return await incoming.finish()

    return asyncio.run(main())


@pytest.mark.parametrize(
    "answer",
    [
        b"[" * 100_000,
        b"\xff",
        b"",
        b"NaN",
        b'{"a": 1}, "status": "ERROR"',
        b'["' + b"a" * SMALL,
    ],
    ids=["deep", "bytes", "none", "constant", "more", "large"],
)
def test_response_that_is_not_json(tmp_path: Path, answer: bytes):
    """The body of a webhook says so if the response is not JSON, whatever it is."""
    body = json.loads(body_of(store(tmp_path, answer)))
    assert (body["status"], body["payload"]) == ("OK", None)
    assert body["payload_error"] == "The response is not JSON."


@pytest.mark.parametrize(
    "payload",
    [
        {"a": [1, 2.5, None, True, "é\U0001f600", "half \ud800"], "b": {}},
        "word",
        {"image": "a" * (1 << 20)},
    ],
    ids=["values", "text", "large"],
)
def test_response_is_a_part_of_the_body_as_it_is(tmp_path: Path, payload: Any):
    """
    A response that is JSON is a part of the webhook byte by byte, also a large one, which
    is in a file.
    """
    answer = json.dumps(payload).encode()
    body = body_of(store(tmp_path, answer))
    assert answer in body
    assert json.loads(body)["payload"] == payload
    assert "payload_error" not in json.loads(body)


def test_response_of_very_many_values_is_not_read(tmp_path: Path):
    """
    A response that takes much memory to be checked is not a part of the webhook, which says
    so.
    """
    many = b"[" + b"[]," * webhook_bodies.MOST_VALUES + b"1]"
    body = json.loads(body_of(store(tmp_path, many)))
    assert body["payload"] is None
    assert "too large for a webhook" in body["payload_error"]
    large = json.loads(
        body_of(Body(size=LARGEST + 1, files=FolderStore(tmp_path), name="unread"), status=200)
    )
    assert "too large for a webhook" in large["payload_error"]


def test_error_of_a_request():
    """The body of a webhook says that a request failed, and why."""
    body = json.loads(body_of(Body.of(b"{}"), status=500))
    assert (body["status"], body["error"]) == ("ERROR", "Unexpected status code: 500")
    body = json.loads(body_of(Body.of(b"{}"), status=422, error="It is wrong."))
    assert (body["status"], body["error"], body["payload"]) == ("ERROR", "It is wrong.", {})
