"""The pages that a server shows in a browser: its dashboard, and playgrounds."""

from __future__ import annotations

import http.client
import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from benchmarks.figures import FAL_CORE, Contestant, Figure, Goal, Measure
from benchmarks.loads import ask, describe_client
from benchmarks.peers.bodies import BODY
from benchmarks.planes import Plane, deployed, filled, kill_runners

_HERE = "benchmarks.pages:"

UNSEEN = "nobody looks"
BARE = "a page of one line"

_BARE = b"<!doctype html><title>Bare</title><p>Bare"

_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

#: Resolves with the milliseconds since the page was asked for, once so many elements are
#: there and have been painted.
PAINTED = """([selector, count]) => new Promise((resolve) => {
  const look = () => document.querySelectorAll(selector).length >= count
    ? requestAnimationFrame(() => resolve(performance.now()))
    : requestAnimationFrame(look);
  look();
})"""


@contextmanager
def open_browser() -> Iterator[Any]:
    """Start the browser."""
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=_ARGUMENTS)
        yield browser
        browser.close()


def sign_in(plane: Plane) -> str:
    """Return the token of a session."""
    connection = http.client.HTTPConnection(plane.variables["FAL_REST_HOST"], timeout=30)
    headers = {"Authorization": f"Key {plane.variables['FAL_KEY']}"}
    connection.request("POST", "/dashboard/session", headers=headers)
    token: str = json.loads(connection.getresponse().read())["token"]
    connection.close()
    return token


@contextmanager
def dashboard(count: int, measure: str) -> Iterator[Measure]:
    """
    Measure until all applications are painted, in a browser that has nothing of the page yet;
    or the bytes that come until then.
    """
    with filled(applications=count) as plane, open_browser() as browser:
        token = sign_in(plane)
        url = f"http://{plane.variables['FAL_REST_HOST']}/"

        def paint() -> float:
            context = browser.new_context()
            context.add_init_script(f"localStorage.setItem('fal-session', '{token}')")
            page = context.new_page()
            session = context.new_cdp_session(page)
            session.send("Network.enable")
            sizes: dict[str, float] = {}

            def count_part(told: Any) -> None:
                # Of a stream that goes on, no other number is told.
                id = told["requestId"]
                sizes[id] = sizes.get(id, 0.0) + told["dataLength"]

            def count_whole(told: Any) -> None:
                sizes[told["requestId"]] = told["encodedDataLength"]

            session.on("Network.dataReceived", count_part)
            session.on("Network.loadingFinished", count_whole)
            page.goto(url, wait_until="commit")
            taken = page.evaluate(PAINTED, ["tbody tr", count]) / 1e3
            context.close()
            return sum(sizes.values()) if measure == "size" else taken

        paint()
        yield paint


@contextmanager
def bare() -> Iterator[Measure]:
    """Measure until a page without styles and scripts is painted: what the browser takes itself."""
    with bare_page() as url, open_browser() as browser:

        def paint() -> float:
            context = browser.new_context()
            page = context.new_page()
            page.goto(url, wait_until="commit")
            taken: float = page.evaluate(PAINTED, ["p", 1]) / 1e3
            context.close()
            return taken

        paint()
        yield paint


@contextmanager
def bare_page() -> Iterator[str]:
    """Serve a page of one line, and yield its URL."""

    class Answers(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(_BARE)))
            self.end_headers()
            self.wfile.write(_BARE)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@contextmanager
def playground() -> Iterator[Measure]:
    """Measure until the form of an application that has no runner is painted."""
    with deployed() as plane, open_browser() as browser:
        kill_runners(plane.client())

        def paint() -> float:
            context = browser.new_context()
            page = context.new_page()
            page.goto(f"{plane.url()}/playground", wait_until="commit")
            taken: float = page.evaluate(PAINTED, [".view .editor", 1]) / 1e3
            context.close()
            return taken

        paint()
        yield paint


@contextmanager
def watched(is_watched: bool, seconds: float) -> Iterator[Measure]:
    """Measure requests through the gateway while a dashboard is open and the logs are followed."""
    with deployed() as plane, ExitStack() as stack:
        if is_watched:
            token = sign_in(plane)
            for method, path in (("GET", "/dashboard/live"), ("POST", "/logs/stream")):
                stack.enter_context(_following(plane, method, path, token))

        def load(seconds: float) -> float:
            url = f"{plane.url()}/sync"
            return float(ask(url, BODY, connections=16, seconds=seconds).rate)

        load(max(1.0, seconds / 4))
        yield lambda: load(seconds)


@contextmanager
def _following(plane: Plane, method: str, path: str, token: str) -> Iterator[None]:
    """Read a stream of the server, whatever comes."""
    parts = urlsplit(f"http://{plane.variables['FAL_REST_HOST']}")
    connection = http.client.HTTPConnection(parts.netloc, timeout=60)
    connection.request(method, path, headers={"Authorization": f"Bearer {token}"})
    response = connection.getresponse()
    assert response.status == 200
    socket = connection.sock

    def read() -> None:
        try:
            while response.read1(1 << 16):
                pass
        except (OSError, ValueError, http.client.HTTPException):
            return

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        yield
    finally:
        if socket is not None:
            socket.close()
        connection.close()


def figures(*, quick: bool) -> list[Figure]:
    """Return the figures of this theme."""
    count, seconds = (20, 2.0) if quick else (200, 4.0)
    note = "in Chromium, with nothing of the page kept from before"
    return [
        _own(
            "dashboard-paint",
            f"dashboard: until {count} applications are painted",
            "s",
            0.3,
            "dashboard",
            {"count": count, "measure": "time"},
            note,
        ),
        _own(
            "dashboard-size",
            f"dashboard: what is sent until {count} applications are painted",
            "kB",
            150e3,
            "dashboard",
            {"count": count, "measure": "size"},
            note,
        ),
        _own(
            "playground-paint",
            "playground of an application without a runner: until its form is painted",
            "s",
            0.1,
            "playground",
            {},
            note,
        ),
        Figure(
            name="gateway-watched",
            title="an application through the gateway, with the dashboard open and the logs "
            "followed: requests a second",
            unit="requests/s",
            note=f"16 connections, {describe_client()}",
            contestants=(
                _contestant(FAL_CORE, "watched", {"is_watched": True, "seconds": seconds}),
                _contestant(UNSEEN, "watched", {"is_watched": False, "seconds": seconds}),
            ),
            goals=(Goal(against=UNSEEN, factor=0.95, at_least=True),),
        ),
    ]


def _contestant(name: str, target: str, settings: dict[str, Any], *needs: str) -> Contestant:
    return Contestant(
        name=name,
        target=_HERE + target,
        settings=settings,
        role="fal-core" if name == FAL_CORE else "reference",
        needs=("fal_server", "fal_host_serverless", "fal_serve", *needs),
        pinned=False,
    )


def _own(
    name: str,
    title: str,
    unit: str,
    most: float,
    target: str,
    settings: dict[str, Any],
    note: str,
) -> Figure:
    contestants = [_contestant(FAL_CORE, target, settings, "playwright")]
    if unit == "s":
        contestants.append(_contestant(BARE, "bare", {}, "playwright"))
    return Figure(
        name=name,
        title=title,
        unit=unit,
        contestants=tuple(contestants),
        goals=(Goal(plus=most),),
        note=note,
    )
