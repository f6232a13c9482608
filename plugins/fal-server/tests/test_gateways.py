"""
Gateways: what a runner is told of a request, and a sender of its answer.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import http.client
import json
import os
import signal
import socket
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from isolate_proto import controller_pb2 as wire

WORDS = b"words that are compressed, " * 100


def make_mirror() -> Callable[..., None]:
    """
    Return an application that tells what it was sent, byte by byte.
    """

    def serve(*, exposed_port: int, exposed_metrics_port: int = 0) -> None:
        import base64
        import gzip
        import json
        import os
        import time
        from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                size = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(size)
                told = {
                    "path": self.path,
                    "body": base64.b64encode(body).decode(),
                    "headers": dict(self.headers),
                    "pid": os.getpid(),
                }
                answer = json.dumps(told).encode()
                if self.path.startswith("/sleep"):
                    time.sleep(60)
                if self.path.startswith("/half"):
                    self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
                    self.close_connection = True
                    return
                self.send_response(200)
                if "gzip" in self.headers.get("Accept-Encoding", ""):
                    answer = gzip.compress(answer)
                    self.send_header("Content-Encoding", "gzip")
                if "X-Back" in self.headers:
                    self.send_header("X-Back", self.headers["X-Back"])
                self.send_header("Connection", "x-between, keep-alive")
                self.send_header("X-Between", "us")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: Any) -> None:
                pass

        ThreadingHTTPServer(("127.0.0.1", exposed_port), Handler).serve_forever()

    return serve


@pytest.fixture(scope="module")
def mirror(stage: Any) -> str:
    """
    The name of an application that tells what it was sent.
    """
    stage.deploy("mirror", function=make_mirror(), auth_mode=wire.PUBLIC, max_multiplexing=8)
    return "mirror"


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


@pytest.mark.parametrize("door", ["api", "run", "queue"])
def test_headers_of_grpc_are_no_credentials_of_http(stage: Any, door: str):
    """
    Over HTTP a key is shown in ``Authorization`` alone, which is passed on to nobody.
    """
    stage.deploy("own")
    id, _, secret = stage.plane.key.partition(":")
    path = "/users/current" if door == "api" else "/owner/own"
    with stage.client(door, "") as client:
        method = "GET" if door == "api" else "POST"
        shown = {"Auth-Key": secret, "Auth-Key-Id": id}
        assert client.request(method, path, headers=shown).status_code == 401
        shown = {"Authorization": f"Key {id}:{secret}"}
        assert client.request(method, path, headers=shown).status_code == 200


def test_bodies_that_cannot_be_read(stage: Any, mirror: str, caplog: pytest.LogCaptureFixture):
    """
    A body that cannot be read is refused, without telling or logging what it has, and is
    no fault of the runner.
    """
    for door in ("run", "queue"):
        for body in (b"Key a:SECRETS\r\n", b"3\r\nabcKey a:SECRETS\r\n"):
            port = stage.plane.plane.ports[door]
            head = f"POST /owner/{mirror} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked"
            with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
                connection.sendall(head.encode() + b"\r\n\r\n" + body)
                answer = b""
                while part := connection.recv(65536):
                    answer += part
            assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.0 400")), answer
            assert b"SECRETS" not in answer
    assert "SECRETS" not in caplog.text


def exchange(stage: Any, path: str, *sent: str) -> list[list[str]]:
    """
    Send requests over a websocket, and return the messages that answer each.
    """
    url = f"ws://127.0.0.1:{stage.plane.plane.ports['ws']}/owner/{path}"
    headers = {"Authorization": f"Key {stage.plane.key}"}

    async def talk() -> list[list[str]]:
        answers: list[list[str]] = []
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(url, headers=headers) as connection,
        ):
            for each in sent:
                await connection.send_str(each)
            for _ in sent:
                answers.append([])
                while not answers[-1] or '"type": "end"' not in answers[-1][-1]:
                    data = (await connection.receive()).data
                    answers[-1].append(data if isinstance(data, str) else data.decode())
        return answers

    found: list[list[str]] = stage.plane.run(talk())
    return found


def test_requests_of_a_websocket(stage: Any, mirror: str):
    """
    Each request of a websocket is answered in order, by the path and the query that the
    websocket was opened with, in messages that are not compressed.
    """
    answers = exchange(stage, f"{mirror}/sub?a=1&fal_jwt_token=x&b=%20", "1", "2")
    for sent, answer in zip(["1", "2"], answers, strict=True):
        start, told, end = map(json.loads, answer)
        assert (start["type"], start["status"], end["status"]) == ("start", 200, 200)
        assert start["request_id"] == end["request_id"] == told["headers"]["x-fal-request-id"]
        assert told["path"] == "/sub?a=1&b=%20"
        assert base64.b64decode(told["body"]).decode() == sent


def test_requests_of_a_websocket_that_take_too_long(stage: Any):
    """
    A request of a websocket is held to the ``request_timeout`` as any other, and a
    runner that does not answer at all is replaced.
    """
    stage.deploy("slow", function=make_mirror(), request_timeout=4, max_multiplexing=8)
    [answer] = exchange(stage, "slow/sleep", "1")
    start, told, end = map(json.loads, answer)
    assert (start["status"], end["status"]) == (504, 504)
    assert told["error_type"] == "request_timeout"
    assert start["headers"]["x-fal-request-timeout-type"] == "infrastructure"

    def pid() -> int:
        return int(json.loads(exchange(stage, "slow/again", "1")[0][1]).get("pid", 0))

    stopped = next(found for found in iter(pid, None) if found)
    os.kill(stopped, signal.SIGSTOP)
    stage.settle(lambda: pid() not in (0, stopped))


def test_request_of_a_websocket_whose_answer_breaks_off(stage: Any, mirror: str):
    """
    Where the body of an answer has begun and breaks off, its end says so.
    """
    [(start, half, why, end)] = exchange(stage, f"{mirror}/half", "1")
    assert json.loads(start)["status"] == 200
    assert half == "half"
    assert json.loads(why)["error_type"] == "runner_disconnected"
    assert json.loads(end)["status"] == 503
