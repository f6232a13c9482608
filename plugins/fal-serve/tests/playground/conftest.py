"""A service and a browser for the tests of the playground."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Literal

import pytest
from fastapi import Header, Response, WebSocket
from playwright.sync_api import Browser, Page, expect, sync_playwright
from pydantic import BaseModel, Field

from fal_serve import App, endpoint, realtime

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
#: Milliseconds that the browser may take; most takes a fraction of one.
PATIENCE = 60_000

#: One pixel.
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
IMAGE = "data:image/png;base64," + base64.b64encode(PNG).decode()


class Corner(BaseModel):
    left: int = 0
    top: int = 0


class Order(BaseModel):
    words: str = Field(
        min_length=2,
        max_length=4000,
        examples=["zebra", "ant", "a giraffe that looks over the wall of the garden"],
        description="What is drawn.</p><b>no</b>",
    )
    amount: int = Field(3, ge=1, le=9)
    share: float | None = None
    kind: Literal["oil", "ink"] = "oil"
    quick: bool = False
    image_url: str | None = None
    names: list[str] = []
    corner: Corner = Corner(left=1)
    corners: list[Corner] = []
    place: Corner | None = None
    either: int | str = 1
    numbers: dict[str, float] = {}
    free: Any = None


class Shown(BaseModel):
    text: str = "hello"


class Shop(App, kind="current", name="shop<img src=x onerror=alert(1)>"):
    version = "3.2.1"

    def setup(self) -> None:
        self.gate = asyncio.Event()

    @endpoint("/echo")
    def echo(self, order: Order) -> dict[str, Any]:
        """Say the order back. <script>document.title = "broken"</script>"""
        return order.model_dump()

    @endpoint("/go")
    async def go(self) -> None:
        self.gate.set()
        self.gate = asyncio.Event()

    @endpoint("/stream")
    async def stream(self, shown: Shown) -> AsyncIterator[str]:
        try:
            yield f"{shown.text}, "
            await self.gate.wait()
            yield "and good bye"
        finally:
            print("the stream has ended")

    @endpoint("/steps")
    async def steps(self, count: int = 3) -> AsyncIterator[dict[str, Any]]:
        for step in range(count):
            yield {"step": step, "preview": IMAGE}

    @endpoint("/breaks")
    async def breaks(self) -> AsyncIterator[str]:
        yield "begun"
        await self.gate.wait()
        raise LookupError("gone")

    @endpoint("/images")
    def images(self) -> dict[str, Any]:
        return {
            "named": {"url": "/raw.bin", "content_type": "image/png"},
            "held": [IMAGE],
        }

    @endpoint("/raw")
    def raw(self) -> Response:
        return Response(PNG, media_type="image/png")

    @endpoint("/bytes")
    def bytes_(self) -> Response:
        return Response(bytes(range(256)), media_type="application/octet-stream")

    @endpoint("/find/{place}")
    def find(self, place: str, many: int, x_token: str = Header("none")) -> list[Any]:
        return [place, many, x_token]

    @realtime("/live")
    async def live(self, order: Order) -> dict[str, Any]:
        return {"said": order.words.upper(), "bytes": PNG, "large": 2**60}

    @endpoint("/chat", is_websocket=True)
    async def chat(self, websocket: WebSocket) -> None:
        await websocket.accept()
        async for text in websocket.iter_text():
            await websocket.send_text(f"you said {text}")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser, which ends with the module."""
    if CHROMIUM is None:
        pytest.skip("There is no chromium here.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def shop(serve: Callable[[Any], Any]) -> Any:
    """The service on the playground."""
    return serve(Shop)


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """
    Open the playground of a service at one of its endpoints.

    In every test, the page sends requests to no other host, and the browser reports no
    errors.
    """
    opened, asked, said = [], [], []

    def begin(url: str, place: str = "", **options: Any) -> Page:
        context = browser.new_context(**options)
        context.set_default_timeout(PATIENCE)
        expect.set_options(timeout=PATIENCE)
        opened.append(context)
        page = context.new_page()
        page.on("request", lambda request: asked.append((url, request.url)))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("console", lambda line: said.append(line.text))
        page.goto(f"{url}/playground#{place}")
        expect(page.locator(".view")).to_be_visible()
        return page

    yield begin
    for context in opened:
        context.close()
    others = [to for url, to in asked if not to.startswith((url, "data:", "blob:"))]
    assert others == []
    # The browser tells of each answer that is an error.
    assert [each for each in said if "Failed to load resource" not in each] == []


@pytest.fixture
def page(open_page: Callable[..., Page], shop: Any) -> Callable[..., Page]:
    """Open the playground of the shop."""
    return lambda place="POST /echo", **options: open_page(shop.url, place, **options)


@pytest.fixture
def run() -> Callable[..., Any]:
    """Press Run, and wait until the state of the response is *badge*."""

    def run(page: Page, badge: str) -> None:
        page.get_by_role("button", name="Run", exact=True).click()
        expect(page.locator(".answer .badge")).to_contain_text(badge)

    return run


@pytest.fixture
def answer_of() -> Callable[..., Any]:
    """Return the JSON of the response, as its copy button gives it."""

    def answer_of(page: Page) -> Any:
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.get_by_role("button", name="Copy the answer").click()
        expect(page.locator("#announcements")).to_have_text("Copied.")
        return json.loads(page.evaluate("navigator.clipboard.readText()"))

    return answer_of


@pytest.fixture
def field() -> Callable[..., Any]:
    """Return the control of the field *name*."""

    def field(page: Page, name: str) -> Any:
        return page.get_by_label(name, exact=True)

    return field


@pytest.fixture
def copied() -> Callable[..., Any]:
    """Return the text that is copied for a *language*."""

    def copied(page: Page, language: str) -> str:
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.get_by_role("button", name=f"Copy as {language}").click()
        expect(page.locator("#announcements")).to_have_text(f"Copied as {language}.")
        return str(page.evaluate("navigator.clipboard.readText()"))

    return copied


@pytest.fixture
def is_loaded() -> Callable[..., Any]:
    """Tell whether an image has been loaded."""

    def is_loaded(image: Any) -> bool:
        image.scroll_into_view_if_needed()
        return bool(
            image.evaluate("async (image) => (await image.decode(), image.naturalWidth > 0)")
        )

    return is_loaded


@pytest.fixture
def png() -> bytes:
    """An image of one pixel."""
    return PNG


@pytest.fixture
def image() -> str:
    """The same image as a data URL."""
    return IMAGE
