"""The playground of a deployed application in a real browser, while nothing runs of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import browsers
import polling
import programs
import pytest
from isolate_proto import controller_pb2 as wire
from playwright.sync_api import Page, expect

from fal_server.commands.client_variables import variables_of

SOURCE = """
    from collections.abc import Iterator
    from pathlib import Path

    from fal_serve import App, endpoint, realtime
    from pydantic import BaseModel


    class Word(BaseModel):
        word: str = "words"


    class Served(App, keep_alive=0):
        '''Says words.'''

        def setup(self) -> None:
            print("it is being set up")
            # Until the test lets it go on.
            while not (Path(FOLDER) / "ready").exists():
                pass

        @endpoint("/zebra")
        def zebra(self, given: Word) -> dict[str, str]:
            print(f"it says {given.word}")
            return {"said": given.word}

        @endpoint("/ant")
        def ant(self) -> Iterator[str]:
            yield "one "
            yield "two"

        @realtime("/live")
        def live(self, given: Word) -> Word:
            return given
"""

#: Its own pages are not in its document.
PAGED = """
    from fal_serve import App, endpoint
    from starlette.responses import HTMLResponse


    class Served(App, keep_alive=0):
        @endpoint("/work")
        def work(self) -> int:
            return 1

        def add_routes(self, application):
            @application.get("/redoc", include_in_schema=False)
            def redoc() -> HTMLResponse:
                return HTMLResponse("my own documents")

            application.mount("/", HTMLResponse("my own front"))
"""

Open = Callable[..., Page]


@pytest.fixture(scope="module")
def pages(served_plane: Any) -> str:
    """The URL of the applications of the server."""
    for name in ("closed", "open"):
        (served_plane.folder / "ready").touch()
        mode = "public" if name == "open" else "private"
        served_plane.deploy_class(name, SOURCE, "--auth", mode)
    return f"http://127.0.0.1:{served_plane.plane.plane.ports['run']}/owner"


@pytest.fixture
def open_page(browser: Any, served_plane: Any, pages: str) -> Iterator[Open]:
    ports = served_plane.plane.plane.ports
    hosts = [f"http://127.0.0.1:{ports[name]}/" for name in ("run", "queue")]
    hosts.append(f"ws://127.0.0.1:{ports['run']}/")
    with browsers.opening_pages(browser, *hosts) as begin:
        yield lambda path, **options: begin(f"{pages}/{path}", **options)


@pytest.fixture
def find_python(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Return the Python that has the library of a language."""

    def find(language: str) -> str:
        if language != "fal_client":
            return sys.executable
        clients = programs.share_clients(tmp_path_factory, "newest")
        return str(clients.folder / "bin" / "python")

    return find


def run(page: Page) -> None:
    page.get_by_role("button", name="Run", exact=True).click()


def test_cold_start_is_shown(open_page: Open, served_plane: Any):
    """
    The page opens while nothing runs. The first call starts a runner, and what that is at
    is shown until the response is there.
    """
    plane = served_plane.plane
    application = plane.plane.catalog.find("owner", "open")
    served_plane.settle(lambda: not plane.here(lambda: list(application.runners)))
    page = open_page("open/playground")
    expect(page.locator("#state")).to_contain_text("Scaled to zero")
    expect(page.locator("#about")).to_have_text("Says words.")
    shown = page.locator("#endpoints .path").all_inner_texts()
    assert shown == ["/zebra", "/ant", "/live", "/health"]

    (served_plane.folder / "ready").unlink()
    run(page)
    try:
        expect(page.locator(".waiting")).to_contain_text("The application is being set up")
    finally:
        (served_plane.folder / "ready").touch()
    expect(page.locator(".answer .badge")).to_have_text("200 OK")
    expect(page.locator(".tree")).to_contain_text("words")
    expect(page.locator(".waiting")).to_have_count(0)


def test_private_application_opens_from_the_dashboard(open_page: Open, served_plane: Any):
    """
    The page of a private application takes no key. The tab keeps the token with which the
    dashboard opens it, with which it also streams and opens websockets.
    """
    page = open_page("closed/playground#POST /ant")
    expect(
        page.get_by_role("heading", name="Open this page from the dashboard")
    ).to_be_visible()
    assert "Says words" not in page.content()
    expect(page.locator("main input")).to_have_count(0)

    with served_plane.plane.client() as api:
        link = api.post("/dashboard/playground", json={"application": "closed"}).json()["url"]
    fragment = link.partition("#")[2]
    page = open_page(f"closed/playground#{fragment}&POST /ant")
    run(page)
    expect(page.locator(".streamed")).to_have_text("one two")
    assert "fal-token" not in page.url

    kept = page.evaluate("JSON.stringify([{...sessionStorage}, {...localStorage}])")
    assert served_plane.plane.key.partition(":")[2] not in kept
    page.reload()
    page.goto(page.url.partition("#")[0] + "#/live")
    page.get_by_label("word", exact=True).fill("hello")
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.locator(".received")).to_contain_text("hello")


def test_service_worker_of_one_application_sees_no_other(
    browser: Any, pages: str, served_plane: Any
):
    """An application cannot register a service worker, for itself or for the whole origin."""

    def workers(*, exposed_port: int) -> None:
        import http.server

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                script = self.path.endswith(".js")
                body = b"addEventListener('fetch', () => {})" if script else b"<p>own</p>"
                self.send_response(200)
                self.send_header("Content-Type", f"text/{'javascript' if script else 'html'}")
                self.send_header("Service-Worker-Allowed", "/")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        http.server.HTTPServer(("127.0.0.1", exposed_port), Handler).serve_forever()

    served_plane.deploy("workers", auth_mode=wire.PUBLIC, function=workers)
    # The browser reports each refusal as an error of the page.
    page = browser.new_page()
    page.goto(f"{pages}/workers/page")
    expect(page.get_by_text("own")).to_be_visible()
    told = page.evaluate(
        """scopes => Promise.all(scopes.map(
          scope => navigator.serviceWorker.register("worker.js", { scope }).then(
            () => "registered", error => error.message)))""",
        ["/", "/owner/workers/"],
    )

    assert all("403" in each for each in told), told
    assert "service-worker-allowed" not in page.request.get(page.url).headers
    page.close()


def test_own_page_that_no_document_has_is_shown(open_page: Open, served_plane: Any):
    """An application that leaves its page out of its document, or mounts it, is shown it."""
    (served_plane.folder / "ready").touch()
    served_plane.deploy_class("paged", PAGED, "--auth", "public")
    for path, text in (("", "my own front"), ("redoc", "my own documents")):
        expect(open_page(f"paged/{path}").locator("body")).to_have_text(text)
    expect(open_page("paged/playground").locator("#endpoints .path").first).to_be_attached()


def test_queue_has_status_and_log(open_page: Open):
    """
    In the queue, a request shows its id and its log until its response is there, and the
    calls of a tab are kept, with their inputs.
    """
    page = open_page("open/playground")
    page.get_by_label("word", exact=True).fill("queued words")
    page.get_by_label("In the queue").check()
    run(page)

    expect(page.locator(".answer .badge")).to_have_text("200 OK")
    expect(page.locator(".waiting .lines")).to_contain_text("it says queued words")
    expect(page.locator(".tree")).to_contain_text("queued words")

    page.get_by_label("word", exact=True).fill("other words")
    page.reload()
    page.get_by_text("History: 1 call").click()
    page.get_by_role("button", name="Use the input of").click()
    expect(page.get_by_label("word", exact=True)).to_have_value("queued words")


@pytest.mark.parametrize("language", ["fal_client", "AppClient"])
def test_copied_programs_run(
    open_page: Open, served_plane: Any, tmp_path: Path, find_python: Any, language: str
):
    """A call is copied as a program, which the variables of the server are all that it needs."""
    page = open_page("open/playground")
    page.get_by_label("word", exact=True).fill("copied words")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name=f"Copy as {language}").click()
    expect(page.locator("#announcements")).to_have_text(f"Copied as {language}.")
    program = str(page.evaluate("navigator.clipboard.readText()"))
    (tmp_path / "program.py").write_text(program)
    source = (served_plane.folder / "open.py").read_text()
    (tmp_path / "app.py").write_text(source)
    directory = served_plane.plane.directory
    done = subprocess.run(
        [find_python(language), "program.py"],
        cwd=tmp_path,
        env={**os.environ, **variables_of(directory, tls=False)},
        capture_output=True,
        text=True,
        timeout=polling.PATIENCE,
    )

    assert "copied words" in done.stdout, done.stderr


def test_page_has_no_accessibility_faults(
    open_page: Open, find_faults: Callable[[Page], list[str]]
):
    """Neither what leads to the dashboard nor the page has what axe finds fault with."""
    for scheme in browsers.SCHEMES:
        asking = open_page("closed/playground", color_scheme=scheme)
        expect(
            asking.get_by_role("heading", name="Open this page from the dashboard")
        ).to_be_visible()
        assert find_faults(asking) == []
        phone = {"width": 360, "height": 740}
        page = open_page("open/playground", color_scheme=scheme, viewport=phone)
        expect(page.locator(".view")).to_be_visible()
        page.get_by_label("In the queue").check()
        run(page)
        expect(page.locator(".waiting .lines")).to_contain_text("it says")
        assert find_faults(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") == 360
