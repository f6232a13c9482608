"""Playground pages, where an application is tried in a browser."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

SOURCE = """
    from fal_serve import App, endpoint, realtime


    class Served(App, keep_alive=300):
        @endpoint("/look")
        def look(self) -> int:
            return 1

        @realtime("/talk")
        def talk(self, word: str) -> str:
            return word
"""

#: Seconds that a request may take.
PATIENCE = 120


def page_of(printed: str) -> tuple[str, str]:
    """Return the page that a deployment prints, and the text beside it."""
    (found,) = re.findall(r"^Playground: (\S+)(.*)$", printed, re.MULTILINE)
    return found


def test_page_is_printed_once_and_opens(standing: Any):
    """
    A deployment prints the page of the application once, whatever endpoints it has, and the
    page of a public application opens.
    """
    url, note = page_of(standing.deploy_class("open", SOURCE, "--auth", "public"))

    assert url == f"http://127.0.0.1:{standing.plane.ports['run']}/owner/open/playground"
    assert note == ""
    answer = httpx.get(url, trust_env=False, timeout=PATIENCE)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert (
        httpx.get(f"{url}/../openapi.json", trust_env=False, timeout=PATIENCE).status_code
        == 200
    )


@pytest.mark.parametrize("arguments", [(), ("--auth", "shared")])
def test_page_of_a_private_application(standing: Any, arguments: tuple[str, ...]):
    """If the application requires a key, the text beside its URL says what opens its page."""
    url, note = page_of(standing.deploy_class("closed", SOURCE, *arguments))

    assert "opens from 'fal-core server open'" in note
    assert "'--auth public' opens it" in note
    assert httpx.get(url, trust_env=False, timeout=PATIENCE).status_code == 200
    state = f"{url}/state"
    assert httpx.get(state, trust_env=False, timeout=PATIENCE).status_code == 401
    headers = {"Authorization": f"Key {standing.plane.key}"}
    assert httpx.get(state, headers=headers, trust_env=False, timeout=PATIENCE).is_success
