"""
Cross-origin requests: pages of any origin may send them, unless the application or an option
says something else.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import Response
from starlette.middleware.cors import CORSMiddleware

from fal_serve import App, endpoint

PAGE = "https://page.example"
PREFLIGHT = {
    "Origin": PAGE,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type,x-fal-runner-hint",
}


class Open(App, kind="current", max_multiplexing=1):
    """An application that says nothing of other origins, except at one endpoint."""

    @endpoint("/")
    def greet(self) -> str:
        return "hello"

    @endpoint("/own")
    def own(self, response: Response) -> None:
        response.headers["Access-Control-Allow-Origin"] = "https://other.example"

    @endpoint("/fails")
    def fails(self) -> None:
        raise LookupError("gone")


class Closed(Open, cors=False):
    """The same, for pages of its own origin alone."""


class Ruled(App, kind="current"):
    """An application that has a rule of its own."""

    @endpoint("/")
    def greet(self) -> str:
        return "hello"

    def build_application(self) -> Any:
        built = super().build_application()
        built.add_middleware(
            CORSMiddleware, allow_origins=["https://friend.example"], allow_methods=["POST"]
        )
        return built


def allowed(response: httpx.Response) -> list[str]:
    return response.headers.get_list("Access-Control-Allow-Origin")


def test_page_of_another_origin_may_send_requests(serve):
    """
    A preflight is answered for every method and every header, at every path; a response,
    also of an error, is for pages of every origin, which may read its headers. Cookies are
    not allowed.
    """
    client = serve(Open).client
    for path in ("/", "/fails", "/nowhere"):
        preflight = client.options(path, headers=PREFLIGHT)
        assert (preflight.status_code, preflight.content) == (204, b"")
        assert allowed(preflight) == ["*"]
        assert "POST" in preflight.headers["Access-Control-Allow-Methods"]
        headers = preflight.headers["Access-Control-Allow-Headers"]
        assert headers == PREFLIGHT["Access-Control-Request-Headers"]
        assert preflight.headers["Access-Control-Max-Age"] == "600"
    statuses = {}
    for path in ("/", "/fails", "/nowhere"):
        answer = client.post(path, headers={"Origin": PAGE})
        statuses[path] = answer.status_code
        assert allowed(answer) == ["*"]
        assert "x-fal-request-id" in answer.headers["Access-Control-Expose-Headers"]
        assert "Access-Control-Allow-Credentials" not in answer.headers
    assert statuses == {"/": 200, "/fails": 500, "/nowhere": 404}


def test_request_of_no_page_gets_no_such_headers(serve):
    """Without an origin, and for a request with OPTIONS that is no preflight, nothing changes."""
    client = serve(Open).client
    assert allowed(client.post("/")) == []
    plain = client.options("/", headers={"Origin": PAGE})
    assert (plain.status_code, plain.headers["Allow"]) == (405, "POST")


def test_application_has_the_last_word(serve):
    """
    The headers of an application are left as they are, and not doubled, and so are its
    responses to preflights, also those that refuse.
    """
    open, ruled = serve(Open).client, serve(Ruled).client
    assert allowed(open.post("/own", headers={"Origin": PAGE})) == ["https://other.example"]
    friend = {
        **PREFLIGHT,
        "Origin": "https://friend.example",
        "Access-Control-Request-Headers": "content-type",
    }
    welcomed = ruled.options("/", headers=friend)
    assert (welcomed.status_code, allowed(welcomed)) == (200, ["https://friend.example"])
    refused = ruled.options("/", headers=PREFLIGHT)
    assert (refused.status_code, allowed(refused)) == (400, [])


def test_preflight_waits_for_no_turn(serve_with, wait_for_line, tmp_path: Path):
    """A preflight is answered while the service is busy."""
    gate = tmp_path / "gate"

    def hold() -> str:
        import time

        print('{"held": true}', flush=True)
        # Until the test lets the request go.
        while not gate.exists():
            time.sleep(0.01)
        return "done"

    info = serve_with(hold, max_multiplexing=1)
    with ThreadPoolExecutor() as threads:
        held = threads.submit(httpx.post, info.url, timeout=60)
        try:
            wait_for_line(info, held=True)
            preflight = httpx.options(info.url, headers=PREFLIGHT, timeout=60)
            assert (preflight.status_code, held.done()) == (204, False)
        finally:
            gate.touch()
        assert held.result().status_code == 200


@pytest.mark.parametrize("way", ["class", "variable"])
def test_cross_origin_requests_are_switched_off(
    serve, monkeypatch: pytest.MonkeyPatch, way: str
):
    """A class, or a variable where a service is launched, switches them off."""
    if way == "variable":
        monkeypatch.setenv("FAL_SERVE_CORS", "0")
    client = serve(Closed if way == "class" else Open).client
    assert client.options("/", headers=PREFLIGHT).status_code == 405
    assert allowed(client.post("/", headers={"Origin": PAGE})) == []


def test_option_that_is_no_truth_value():
    """Anything but True and False is refused where the class is written."""
    with pytest.raises(ValueError, match="cors must be True or False, not 'no'"):
        type(App)("Wrong", (App,), {"cors": "no"})
