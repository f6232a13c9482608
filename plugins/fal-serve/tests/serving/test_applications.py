"""ASGI applications: the routes that they find, and routes that they refuse."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from starlette.requests import Request
from starlette.responses import Response

from fal_core import OptionError
from fal_core_worker.serving.routes import RouteSignature
from fal_serve import App, AppException, BaseServable, FalFastAPI, HealthCheck


class Catalog(BaseServable):
    def collect_routes(self) -> dict[RouteSignature, Callable[..., Any]]:
        check = HealthCheck(method="get")
        return {
            RouteSignature("/fixed"): lambda: "an endpoint",
            RouteSignature("/{name}", health_check=check): self.find,
            RouteSignature("/late"): lambda: "another",
        }

    def find(self, name: str) -> str:
        return f"found {name}"


def ask(method: str, path: str) -> httpx.Response:
    """Return the response of the application of a catalog."""

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(Catalog().build_application())
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, path)

    return asyncio.run(send())


def test_documents_are_not_hidden_by_paths_with_parameters():
    """A path with parameters that matches that of a document comes after it."""
    assert "/{name}" in ask("GET", "/openapi.json").json()["paths"]
    assert ask("GET", "/anything").json() == "found anything"


def test_the_first_endpoint_that_matches_answers():
    """Endpoints are found in the order of their routes."""
    assert ask("POST", "/fixed").json() == "an endpoint"
    assert ask("POST", "/late").json() == "found late"


def test_document_has_the_path_of_the_proxy(monkeypatch: pytest.MonkeyPatch):
    """Behind a proxy that strips a prefix, the document says under which path the service is."""
    monkeypatch.setenv("FAL_APP_ROOT_PATH", "/me/app")
    assert ask("GET", "/openapi.json").json()["servers"] == [{"url": "/me/app"}]


def yields() -> Iterator[int]:
    yield 1


def plain(message: int) -> int:
    return message


@pytest.mark.parametrize(
    ("route", "handler", "said"),
    [
        (RouteSignature("/a", buffering=2), plain, "has buffering, which is for realtime"),
        (RouteSignature("/a", emit_timings=True), plain, "has emit_timings"),
        (RouteSignature("/a", realtime_mode="unary"), plain, "has realtime_mode"),
        (RouteSignature("/a", content_type="text/csv"), yields, "and its handler yields"),
    ],
)
def test_field_that_does_nothing_is_refused(
    build_route: Callable[..., Any], route: RouteSignature, handler: Any, said: str
):
    """A field of a route that would be ignored is an error with the name of the route."""
    with pytest.raises(OptionError, match=said):
        build_route(route, handler)


def test_class_without_endpoints_is_a_base():
    """A class without endpoints is only refused when it is served."""
    line = sys._getframe().f_lineno + 2

    class Empty(App, kind="current"):
        pass

    with pytest.raises(ValueError, match=rf"test_applications\.py:{line}: Class 'Empty' has"):
        Empty().openapi()


def ask_plainly(application: FalFastAPI) -> TestClient:
    return TestClient(application, raise_server_exceptions=False)


def test_application_of_its_own_answers_as_fastapi_does():
    """
    Outside a service, unknown paths and errors have FastAPI's responses, and errors are
    raised in a test; fal's exceptions have their status.
    """
    application = FalFastAPI()

    @application.get("/{what}/raised")
    def fail(what: str) -> None:
        raise AppException("busy", 429) if what == "fals" else LookupError("gone")

    client = ask_plainly(application)
    assert client.get("/nowhere").json() == {"detail": "Not Found"}
    assert client.get("/other/raised").text == "Internal Server Error"
    assert client.get("/fals/raised").status_code == 429
    with pytest.raises(LookupError, match="gone"):
        TestClient(application).get("/other/raised")


def test_handlers_that_an_application_is_made_with_are_used():
    """Exception handlers among the arguments have priority, those of fal's exceptions too."""

    async def handle(request: Request, error: Exception) -> Response:
        return Response(type(error).__name__, 400)

    application = FalFastAPI(exception_handlers={AppException: handle, Exception: handle})

    @application.get("/{status}")
    def fail(status: int) -> None:
        raise AppException("busy", status) if status else LookupError("gone")

    client = ask_plainly(application)
    assert [client.get(path).text for path in ("/1", "/0")] == ["AppException", "LookupError"]


def test_document_of_an_application_has_routes_that_are_added_later():
    """A route that is added after the document was made is in the next one, with its order."""
    application = FalFastAPI()
    application.get("/early")(lambda: None)
    assert application.openapi()["x-fal-order-paths"] == ["/early"]
    application.get("/later")(lambda: None)
    application.openapi_schema = None
    document = application.openapi()
    assert list(document["paths"]) == document["x-fal-order-paths"] == ["/early", "/later"]
