"""
Make the pictures of the playground anew: ``python docs/_ext/pictures.py``.

It serves the application of the page on models, fills in a form as a reader would, and
writes what chromium shows, in light and in dark.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

DOCS = Path(__file__).resolve().parents[1]
SIZE = {"width": 1080, "height": 660}


def read_application() -> Any:
    """Return the application that the page declares in its first block."""
    page = (DOCS / "how-to/gpu-service.md").read_text("utf-8")
    block = re.search(r"^```python\n(.*?)^```", page, re.M | re.S)
    assert block is not None
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(block[1], "gpu-service.md", "exec"), names)
    return names["Critic"]


def main() -> None:
    """Write the pictures of both schemes."""
    service = read_application().spawn()
    service.wait()
    chromium = shutil.which("chromium") or sys.exit("It needs chromium.")
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=chromium, args=["--no-sandbox"]
            )
            for scheme in ("light", "dark"):
                tab = browser.new_page(viewport=SIZE, color_scheme=scheme)
                tab.goto(f"{service.url}/playground")
                tab.get_by_label("text", exact=True).fill("We loved it. Really good food!")
                tab.get_by_role("button", name="Run", exact=True).click()
                tab.get_by_text("praise").last.wait_for()
                tab.screenshot(path=DOCS / f"_static/playground-{scheme}.png")
            browser.close()
    finally:
        service.cancel()


if __name__ == "__main__":
    main()
