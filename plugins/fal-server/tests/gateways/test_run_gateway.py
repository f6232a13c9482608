"""The gateways: which parts of requests and responses they forward."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import http.client
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request

from fal_server.activity.traffic import Traffic
from fal_server.errors import NotFound, Refusal
from fal_server.gateways.run_gateway import RunGateway
from fal_server.routing.refusals import StartFailed

WORDS = b"words that are compressed, " * 100


@pytest.fixture(params=["run", "queue"])
def post(served_plane: Any, mirror: str, request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Send a request through a gateway, and return the request that the application got."""

    def send(path: str = "", key: str | None = None, **given: Any) -> Any:
        with served_plane.client(request.param, key) as client:
            answer = client.post(f"/owner/{mirror}{path}", **given)
        assert answer.status_code == 200, answer.text
        if request.param == "queue":
            answer = served_plane.finish(mirror, answer.json()["request_id"])
        assert "x-between" not in answer.headers
        return answer.json()

    return send


@pytest.mark.parametrize("inflates", [True, False])
def test_compressed_bodies_pass_as_they_are(post: Any, inflates: bool):
    """
    A compressed body reaches the application unchanged, with its Content-Encoding. A
    response is compressed if its reader accepts that.
    """
    body = gzip.compress(WORDS)
    accepted = "gzip" if inflates else "identity"
    received = post(
        content=body, headers={"Content-Encoding": "gzip", "Accept-Encoding": accepted}
    )
    assert base64.b64decode(received["body"]) == body
    assert received["headers"]["Content-Encoding"] == "gzip"
    assert int(received["headers"]["Content-Length"]) == len(body)


def test_no_header_is_added(post: Any):
    """A header that a sender leaves out is not added for the application."""
    received = post(content=b"a", headers={"User-Agent": "mine"})
    assert received["headers"]["User-Agent"] == "mine"
    assert "Content-Type" not in received["headers"]


def test_paths_and_headers_are_forwarded_unchanged(served_plane: Any, mirror: str):
    """
    Paths, and headers in Latin-1, reach the application byte by byte. Such a header in a
    response can be read.
    """
    asked = f"/owner/{mirror}/a/../b%2fc//d?x=%41&y="
    connection = http.client.HTTPConnection(
        "127.0.0.1", served_plane.plane.plane.ports["run"], timeout=60
    )
    with contextlib.closing(connection):
        connection.putrequest("POST", asked, skip_accept_encoding=True)
        connection.putheader("X-Back", b"caf\xe9")
        connection.putheader("Content-Length", "0")
        connection.endheaders()
        answer = connection.getresponse()
        received = json.loads(answer.read())
    assert received["path"] == "/a/../b%2fc//d?x=%41&y="
    assert received["headers"]["X-Back"] == "café"
    assert answer.headers["X-Back"].encode("latin-1").decode() == "café"


def test_credentials_are_not_forwarded(served_plane: Any, post: Any):
    """
    An application gets no key or token of its callers, whichever header has it, no
    hop-by-hop headers, and none that only a gateway sends.
    """
    id, _, secret = served_plane.plane.key.partition(":")
    received = post(
        "?fal_jwt_token=abc&fal%5Fjwt%5Ftoken=abc&a=b",
        headers={
            "Auth-Key": secret,
            "auth-key-id": id,
            "X-Fal-User-Id": "user|7",
            "Fal-User-Id": "user|7",
            "X-Fal-Caller-User-Id": "user|7",
            "X-Fal-Request-Attempt": "7",
            "Proxy-Authorization": f"Key {secret}",
            "Connection": "X-Hop, keep-alive",
            "X-Hop": secret,
            "Cookie": "a=b",
            "X-Mine": "c",
        },
    )
    assert received["path"] == "/?a=b"
    assert secret not in json.dumps(received)
    lower = {name.lower(): value for name, value in received["headers"].items()}
    assert not {"auth-key", "auth-key-id", "authorization", "x-hop"} & set(lower)
    assert not {"x-fal-user-id", "fal-user-id", "x-fal-caller-user-id"} & set(lower)
    assert lower.get("x-fal-request-attempt") != "7"
    assert (lower["cookie"], lower["x-mine"]) == ("a=b", "c")


@pytest.mark.parametrize("listener", ["api", "run", "queue"])
def test_headers_of_grpc_are_no_credentials_of_http(served_plane: Any, listener: str):
    """Over HTTP only a key in ``Authorization`` is accepted."""
    served_plane.deploy("own")
    id, _, secret = served_plane.plane.key.partition(":")
    path = "/users/current" if listener == "api" else "/owner/own"
    with served_plane.client(listener, "") as client:
        method = "GET" if listener == "api" else "POST"
        shown = {"Auth-Key": secret, "Auth-Key-Id": id}
        assert client.request(method, path, headers=shown).status_code == 401
        shown = {"Authorization": f"Key {id}:{secret}"}
        assert client.request(method, path, headers=shown).status_code == 200


class Refusing(RunGateway):
    """A gateway that refuses all requests for one reason."""

    refusal: Refusal

    async def _answer(self, request: Any, target: Any) -> Any:
        raise self.refusal


@pytest.mark.parametrize(
    ("refusal", "status"), [(StartFailed("It fails."), 503), (NotFound("None is there."), None)]
)
@pytest.mark.parametrize("upgrade", [{}, {"Upgrade": "websocket", "Connection": "Upgrade"}])
def test_requests_that_no_runner_answers_are_counted(
    refusal: Refusal, status: int | None, upgrade: Any
):
    """
    One that fails as no runner comes up is counted as a fault of the application, also where it
    would open a websocket; one that is refused to its sender is not.
    """
    application = SimpleNamespace(counted_name=("user|me", "app"))
    router: Any = SimpleNamespace(
        find=lambda url: SimpleNamespace(path="/", application=application)
    )
    room: Any = None
    measurements: Any = None
    traffic = Traffic(measurements)
    gateway = Refusing(router, room, traffic=traffic)
    gateway.refusal = refusal
    with pytest.raises(type(refusal)):
        asyncio.run(gateway.answer(make_mocked_request("GET", "/me/app", headers=upgrade)))
    tally = traffic.tally_of(("user|me", "app"))
    assert (tally.requests, tally.errors) == ((1, 1) if status else (0, 0))


@pytest.mark.parametrize(
    ("answered", "status", "detail"),
    [
        (403, 403, "The application refused the websocket."),
        (500, 500, "The application refused the websocket."),
        (200, 503, "The runner accepts no websocket at this path."),
    ],
)
def test_websocket_that_the_application_refuses(
    served_plane: Any, mirror: str, answered: int, status: int, detail: str
):
    """
    An application that does not accept a websocket says why by its status, which the client
    gets; one that responds as to another request is no websocket.
    """
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    with served_plane.client("run") as client:
        answer = client.get(f"/owner/{mirror}/live/{answered}", headers=headers)
    assert (answer.status_code, answer.json()["detail"]) == (status, detail)
    assert "x-fal-request-id" in answer.headers
