"""A real browser for pages that the server serves, and what its pages must never do."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

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

#: The colours in which pages are checked: both with FAL_CORE_FAULTS=all.
SCHEMES = ("light", "dark")[: 2 if os.environ.get("FAL_CORE_FAULTS") == "all" else 1]

#: What the browser says of a request that it has broken off.
_CHANGED = "net::ERR_NETWORK_CHANGED"

#: Milliseconds that the browser may take; most takes a fraction of one.
PATIENCE = 60_000


@contextmanager
def running_browser() -> Iterator[Browser]:
    """Run a browser."""
    if CHROMIUM is None:
        pytest.skip("There is no chromium here.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@contextmanager
def opening_pages(browser: Browser, *hosts: str) -> Iterator[Callable[..., Page]]:
    """
    Yield the function that opens a page. No page may send requests to anything but *hosts*,
    nor may the browser report an error of a script or of the policy of a page.
    """
    opened, asked, said = [], [], []
    expect.set_options(timeout=PATIENCE)

    def begin(url: str, **options: Any) -> Page:
        context = browser.new_context(**options)
        context.set_default_timeout(PATIENCE)
        opened.append(context)
        page = context.new_page()
        context.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("console", lambda line: said.append(line.text))
        _load(page, url)
        return page

    yield begin
    for context in opened:
        context.close()
    others = [each for each in asked if not each.startswith((*hosts, "data:", "blob:"))]
    assert others == []
    # The browser tells of each answer that is an error.
    assert [each for each in said if "Failed to load resource" not in each] == []


def _load(page: Page, url: str) -> None:
    """
    Load a page, again where the browser breaks off a request since an interface of the machine
    has come or gone, as those of containers do.
    """
    failed: list[Any] = []
    page.on("requestfailed", lambda request: failed.append(request.failure))
    page.goto(url)
    while _CHANGED in failed:
        failed.clear()
        page.reload()


def find_faults(page: Page) -> list[str]:
    """Return what axe finds wrong with a page."""
    found = importlib.util.find_spec("axe_playwright_python")
    assert found is not None
    assert found.origin is not None
    script = (Path(found.origin).parent / "axe.min.js").read_text("utf-8")
    # It is no part of the page, whose policy would refuse it.
    session = page.context.new_cdp_session(page)
    session.send("Runtime.evaluate", {"expression": script})
    told = session.send(
        "Runtime.evaluate",
        {
            "expression": "axe.run().then(it => JSON.stringify(it.violations.map(each => "
            "each.id + ': ' + each.nodes.map(node => node.html).join(' | '))))",
            "awaitPromise": True,
        },
    )
    faults: list[str] = json.loads(told["result"]["value"])
    return faults
