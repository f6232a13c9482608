"""
Gateways: what a runner is told of a request, and a sender of its answer.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import http.client
import json
import socket
from collections.abc import Callable
from typing import Any

import pytest

WORDS = b"words that are compressed, " * 100


@pytest.fixture(params=["run", "queue"])
def post(stage: Any, mirror: str, request: pytest.FixtureRequest) -> Callable[..., Any]:
    """
    Send a request through a gateway, and return what the application was sent.
    """

    def send(path: str = "", key: str | None = None, **given: Any) -> Any:
        with stage.client(request.param, key) as client:
            answer = client.post(f"/owner/{mirror}{path}", **given)
        assert answer.status_code == 200, answer.text
        if request.param == "queue":
            answer = stage.finish(mirror, answer.json()["request_id"])
        assert "x-between" not in answer.headers
        return answer.json()

    return send


@pytest.mark.parametrize("inflates", [True, False])
def test_compressed_bodies_pass_as_they_are(post: Any, inflates: bool):
    """
    What is sent compressed reaches the application so, with the header that says it; an
    answer is compressed where its reader takes that.
    """
    body = gzip.compress(WORDS)
    accepted = "gzip" if inflates else "identity"
    told = post(content=body, headers={"Content-Encoding": "gzip", "Accept-Encoding": accepted})
    assert base64.b64decode(told["body"]) == body
    assert told["headers"]["Content-Encoding"] == "gzip"
    assert int(told["headers"]["Content-Length"]) == len(body)


def test_nothing_is_added(post: Any):
    """
    A header that a sender leaves out is not made up for the application.
    """
    told = post(content=b"a", headers={"User-Agent": "mine"})
    assert told["headers"]["User-Agent"] == "mine"
    assert "Content-Type" not in told["headers"]


def test_what_was_written_goes_on_as_it_was_written(stage: Any, mirror: str):
    """
    A path reaches the application byte by byte, and so does a header in an encoding of
    old; where the application answers with one, it can be read.
    """
    asked = f"/owner/{mirror}/a/../b%2fc//d?x=%41&y="
    connection = http.client.HTTPConnection(
        "127.0.0.1", stage.plane.plane.ports["run"], timeout=60
    )
    with contextlib.closing(connection):
        connection.putrequest("POST", asked, skip_accept_encoding=True)
        connection.putheader("X-Back", b"caf\xe9")
        connection.putheader("Content-Length", "0")
        connection.endheaders()
        answer = connection.getresponse()
        told = json.loads(answer.read())
    assert told["path"] == "/a/../b%2fc//d?x=%41&y="
    assert told["headers"]["X-Back"] == "café"
    assert answer.headers["X-Back"].encode("latin-1").decode() == "café"


def test_what_shows_who_asks_is_not_passed_on(stage: Any, post: Any):
    """
    An application is told of no key or token of its callers, in whatever header they
    show one, and of nothing that is for one connection.
    """
    id, _, secret = stage.plane.key.partition(":")
    told = post(
        "?fal_jwt_token=abc&a=b",
        headers={
            "Auth-Key": secret,
            "auth-key-id": id,
            "X-Fal-User-Id": "user|7",
            "Fal-User-Id": "user|7",
            "Proxy-Authorization": f"Key {secret}",
            "Connection": "X-Hop, keep-alive",
            "X-Hop": secret,
            "Cookie": "a=b",
            "X-Mine": "c",
        },
    )
    assert told["path"] == "/?a=b"
    assert secret not in json.dumps(told)
    lower = {name.lower(): value for name, value in told["headers"].items()}
    assert not {"auth-key", "auth-key-id", "authorization", "x-hop"} & set(lower)
    assert not {"x-fal-user-id", "fal-user-id"} & set(lower)
    assert (lower["cookie"], lower["x-mine"]) == ("a=b", "c")


def test_keys_that_are_kept_nowhere(stage: Any, mirror: str):
    """
    A queued request is kept without what shows who has sent it.
    """
    id, _, secret = stage.plane.key.partition(":")
    request = stage.submit(mirror, auth_key=secret, auth_key_id=id, x_fal_user_id="user|7")
    kept = {name.lower() for name, _ in stage.find(request).headers}
    assert not {"auth-key", "auth-key-id", "authorization", "x-fal-user-id"} & kept
    stage.finish(mirror, request)


@pytest.mark.parametrize("listener", ["api", "run", "queue"])
def test_headers_of_grpc_are_no_credentials_of_http(stage: Any, listener: str):
    """
    Over HTTP a key is shown in ``Authorization`` alone, which is passed on to nobody.
    """
    stage.deploy("own")
    id, _, secret = stage.plane.key.partition(":")
    path = "/users/current" if listener == "api" else "/owner/own"
    with stage.client(listener, "") as client:
        method = "GET" if listener == "api" else "POST"
        shown = {"Auth-Key": secret, "Auth-Key-Id": id}
        assert client.request(method, path, headers=shown).status_code == 401
        shown = {"Authorization": f"Key {id}:{secret}"}
        assert client.request(method, path, headers=shown).status_code == 200


def test_bodies_that_cannot_be_read(stage: Any, mirror: str, caplog: pytest.LogCaptureFixture):
    """
    A body that cannot be read is refused, without telling or logging what it has, and is
    no fault of the runner.
    """
    for listener in ("run", "queue"):
        for body in (b"Key a:SECRETS\r\n", b"3\r\nabcKey a:SECRETS\r\n"):
            port = stage.plane.plane.ports[listener]
            head = f"POST /owner/{mirror} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked"
            with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
                connection.sendall(head.encode() + b"\r\n\r\n" + body)
                answer = b""
                while part := connection.recv(65536):
                    answer += part
            assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.0 400")), answer
            assert b"SECRETS" not in answer
    assert "SECRETS" not in caplog.text
