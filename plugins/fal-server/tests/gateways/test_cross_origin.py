"""Cross-origin requests: pages of any origin may use the gateways, unless the server says no."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from isolate_proto import controller_pb2 as wire

PAGE = "https://page.example"
WANTED = "authorization,content-type,idempotency-key,x-fal-queue-priority,x-fal-runner-hint"
PREFLIGHT = {
    "Origin": PAGE,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": WANTED,
}

#: The arguments of a browser, as root runs it.
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"]

#: What a page does: it sends a request with a key, and reads the response.
FETCH = """
async ([url, key]) => {
    const headers = {
        "Authorization": `Key ${key}`,
        "Content-Type": "application/json",
        "X-Fal-Runner-Hint": "a",
    };
    try {
        const answer = await fetch(url, {method: "POST", headers, body: '{"n": 1}'});
        return [answer.status, answer.headers.get("x-fal-request-id"), await answer.json()];
    } catch (error) {
        return String(error);
    }
}
"""


def make_large() -> Callable[..., None]:
    """Return an application whose responses are too large to be forwarded in one piece."""

    def serve(*, exposed_port: int, exposed_metrics_port: int = 0) -> None:
        from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                body = b"a" * (1 << 20)
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                if "own" in self.path:
                    self.send_header("Access-Control-Allow-Origin", "https://own.example")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        ThreadingHTTPServer(("127.0.0.1", exposed_port), Handler).serve_forever()

    return serve


@pytest.fixture(scope="module")
def large(served_plane: Any) -> str:
    """The name of an application with large responses."""
    served_plane.deploy("large", function=make_large(), auth_mode=wire.PUBLIC)
    return "large"


def allowed(response: httpx.Response) -> list[str]:
    return response.headers.get_list("Access-Control-Allow-Origin")


@pytest.mark.parametrize("listener", ["run", "queue", "ws"])
def test_preflight_needs_no_key_and_no_runner(
    served_plane: Any, app: str, held: Any, listener: str
):
    """
    A preflight is answered without a key, while the only runner is busy, for every method
    and header, and also for an application that there is not; it submits nothing.
    """
    # The request that keeps the runner busy has reached it.
    served_plane.settle(lambda: f"hold {held[0]}" in served_plane.order())
    before = served_plane.order()
    with served_plane.client(listener, key="") as client:
        for path in (f"/owner/{app}", f"/owner/{app}/stream", "/owner/nothing", "/"):
            answer = client.options(path, headers=PREFLIGHT)
            assert (answer.status_code, answer.content, allowed(answer)) == (204, b"", ["*"])
            assert "POST" in answer.headers["Access-Control-Allow-Methods"]
            assert answer.headers["Access-Control-Allow-Headers"] == WANTED
            assert answer.headers["Access-Control-Max-Age"] == "600"
        plain = client.options(f"/owner/{app}", headers={"Origin": PAGE})
        assert plain.status_code != 204
    assert served_plane.order() == before
    assert served_plane.plane.here(served_plane.plane.plane.queue.waiting) == {}


def test_responses_are_for_every_origin(served_plane: Any, app: str, large: str):
    """
    A page of another origin may read each response, and its headers: those of the gateways,
    of errors, of applications and of streams. Others get no such headers.
    """
    origin = {"Origin": PAGE}
    with served_plane.client("run") as run, served_plane.client("queue") as queue:
        submitted = queue.post(f"/owner/{app}", json={}, headers=origin)
        url = f"/owner/{app}/requests/{submitted.json()['request_id']}"
        served_plane.settle(lambda: queue.get(f"{url}/status").status_code == 200)
        answers = [
            submitted,
            queue.get(f"{url}/status", headers=origin),
            queue.get(url, headers=origin),
            queue.get("/owner/nothing/requests/a", headers=origin),
            run.post(f"/owner/{app}", json={}, headers=origin),
            run.post(f"/owner/{large}", json={}, headers=origin),
            run.post(f"/owner/{app}", headers={**origin, "Authorization": "Key a:b"}),
        ]
        for answer in answers:
            assert allowed(answer) == ["*"], answer
            assert "x-fal-request-id" in answer.headers["Access-Control-Expose-Headers"]
            assert "Access-Control-Allow-Credentials" not in answer.headers
        assert [each.status_code for each in answers] == [200, 200, 200, 404, 200, 200, 401]
        assert allowed(run.post(f"/owner/{large}", json={})) == []
        assert allowed(queue.get(url)) == []


def test_headers_of_an_application_are_kept(served_plane: Any, app: str, large: str):
    """What an application says of other origins itself is passed on, and not doubled."""
    own = {"statuses": [200], "headers": {"Access-Control-Allow-Origin": "https://own.example"}}
    origin = {"Origin": PAGE}
    with served_plane.client("run") as run, served_plane.client("queue") as queue:
        id = served_plane.submit(f"{app}/attempts", own, Origin=PAGE)
        served_plane.finish(app, id)
        for answer in (
            run.post(f"/owner/{app}/attempts", json=own, headers=origin),
            run.post(f"/owner/{large}/own", json={}, headers=origin),
            queue.get(f"/owner/{app}/requests/{id}", headers=origin),
        ):
            assert answer.status_code == 200
            assert allowed(answer) == ["https://own.example"]


def test_cross_origin_requests_are_switched_off(make_plane: Any):
    """A server with ``--no-cors`` says nothing of other origins."""
    plane = make_plane(cors=False)
    for listener in ("run", "queue", "ws"):
        base = f"http://127.0.0.1:{plane.plane.ports[listener]}"
        with httpx.Client(base_url=base, trust_env=False) as client:
            preflight = client.options("/owner/nothing", headers=PREFLIGHT)
            assert (preflight.status_code, allowed(preflight)) == (404, [])
            assert allowed(client.post("/owner/nothing", headers={"Origin": PAGE})) == []


@pytest.fixture
def page_url() -> Iterator[str]:
    """The address of a page of an origin of its own."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>page</title>")

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


def test_page_in_a_browser(served_plane: Any, app: str, page_url: str, make_plane: Any):
    """
    A page of another origin runs and submits requests with a key in a browser, which refuses
    the same where the server allows nothing.
    """
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("There is no browser.")
    closed, ports = make_plane(cors=False), served_plane.plane.plane.ports
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        page = browser.new_page()
        page.goto(page_url)
        told = [
            page.evaluate(
                FETCH, [f"http://127.0.0.1:{port}/owner/{app}", served_plane.plane.key]
            )
            for port in (ports["run"], ports["queue"], closed.plane.ports["run"])
        ]
        browser.close()
    (ran, id, answer), (accepted, submitted, queued), refused = told
    assert (ran, accepted) == (200, 200)
    assert (answer["told"], answer["headers"]["x-fal-request-id"]) == ({"n": 1}, id)
    assert queued["request_id"] == submitted
    assert "Failed to fetch" in refused
    served_plane.finish(app, submitted)
