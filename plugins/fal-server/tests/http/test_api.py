"""The HTTP API: who may call a route, and what becomes of errors."""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from fal_server.access.callers import Caller
from fal_server.access.identities import CallerIdentity
from fal_server.access.runner_keys import RunnerKeys
from fal_server.access.tokens import Tokens
from fal_server.errors import NotFound, StateUnavailable
from fal_server.http.api import ApiRoute, OpenRoute, make_application
from fal_server.http.bodies import LARGEST_BODY
from fal_server.state.databases import Database
from fal_server.store.accounts import make_account
from fal_server.store.keys import make_key
from fal_server.telemetry.server_metrics import ServerMetrics

SECRET = "a-part-of-the-request"

Ask = Callable[..., tuple[int, Any]]


async def answer(request: web.Request, caller: Caller) -> web.Response:
    return web.json_response([caller.nickname, len(await request.read())])


async def fail(request: web.Request) -> web.Response:
    errors: dict[str, Exception] = {
        "refusal": NotFound("It is gone."),
        "trouble": StateUnavailable("Later."),
        "http": web.HTTPConflict(reason="Taken"),
        "payload": web.RequestPayloadError(SECRET),
        "unicode": UnicodeEncodeError("utf-8", SECRET, 0, 1, "surrogate"),
        "bug": LookupError(SECRET),
    }
    raise errors[request.match_info["error"]]


@pytest.fixture
def metrics() -> ServerMetrics:
    return ServerMetrics()


@pytest.fixture
def ask(database: Database, metrics: ServerMetrics) -> Ask:
    """Send a request to an API of three routes, with a key that may read logs."""

    def make(connection: Any) -> str:
        account = make_account(connection, "user", "owner")
        return make_key(connection, account.id, ["serverless:logs:read"]).text

    key = database.write_here(make)
    identity = CallerIdentity(database, Tokens(b"k" * 32), RunnerKeys(b"k" * 32))
    routes = [
        OpenRoute("GET", "/fail/{error}", fail),
        ApiRoute("POST", "/logs/{name}", "serverless:logs:read", answer),
        ApiRoute("POST", "/keys", "account:keys:read", answer),
    ]

    def ask(method: str, path: str, *, shown: str = key, body: bytes = b"") -> tuple[int, Any]:
        async def main() -> tuple[int, Any]:
            application = make_application(identity, metrics, routes)
            headers = {"Authorization": f"Key {shown}"} if shown else {}
            async with (
                TestClient(TestServer(application)) as client,
                client.request(
                    method, path, headers=headers, data=io.BytesIO(body)
                ) as response,
            ):
                return response.status, await response.json()

        return asyncio.run(main())

    return ask


def test_route_for_callers_with_a_permission(ask: Ask, metrics: ServerMetrics):
    """
    A route is called by authenticated callers that have its permission, and by no others;
    requests are counted by the pattern of the route.
    """
    assert ask("POST", "/logs/one", body=b"abc") == (200, ["owner", 3])
    status, content = ask("POST", "/keys")
    assert (status, "list keys" in content["detail"]) == (403, True)
    for shown in ("", "a:b"):
        assert ask("POST", "/logs/two", shown=shown)[0] == 401
    assert ask("GET", "/logs/one")[0] == 405
    assert ask("GET", "/nothing")[0] == 501

    def count(method: str, route: str, status: str) -> float | None:
        labels = {"method": method, "route": route, "status": status}
        return metrics.registry.get_sample_value("fal_server_http_requests_total", labels)

    assert count("POST", "/logs/{name}", "200") == 1
    assert count("POST", "/logs/{name}", "401") == 2
    assert count("POST", "/keys", "403") == 1
    assert count("any", "none", "501") == 1
    assert metrics.registry.get_sample_value("fal_server_refused_callers_total") == 2


@pytest.mark.parametrize(
    ("error", "status", "detail"),
    [
        ("refusal", 404, "It is gone."),
        ("trouble", 503, "Later."),
        ("http", 409, "Taken"),
        ("payload", 400, "The request cannot be read."),
        ("unicode", 422, "The request contains text that is not valid Unicode."),
        ("bug", 500, "An internal error occurred."),
    ],
)
def test_error_is_a_sentence(ask: Ask, caplog, error: str, status: int, detail: str):
    """
    An error becomes a response with a sentence, which has nothing of an unexpected error;
    that is logged under the pattern of its route, as paths may have tokens.
    """
    caplog.set_level(logging.INFO, "fal_server")
    assert ask("GET", f"/fail/{error}") == (status, {"detail": detail})
    logged = [record.getMessage() for record in caplog.records if record.name.endswith("api")]
    assert logged == {
        "refusal": ["GET /fail/{error} refused: NotFound: It is gone."],
        "trouble": ["GET /fail/{error} refused: StateUnavailable: Later."],
        "bug": ["GET /fail/{error} failed"],
    }.get(error, [])


def test_body_that_is_too_large(ask: Ask):
    """A body is read into memory up to a limit."""
    assert ask("POST", "/logs/one", body=b"a" * LARGEST_BODY) == (200, ["owner", LARGEST_BODY])
    status, content = ask("POST", "/logs/one", body=b"a" * (LARGEST_BODY + 1))
    assert (status, content["detail"]) == (413, HTTPStatus(413).phrase)
