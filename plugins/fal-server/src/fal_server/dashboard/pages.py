"""
The page of the dashboard, made of the files of this package. It holds nothing of an account.

It is a single response, with its styles and scripts: what a browser asks for then is what the
account has.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import pkgutil
from collections.abc import Iterable, Mapping

import attrs
from aiohttp import web

from fal_server.dashboard.scripts import join_modules
from fal_server.http.api import OpenRoute

#: The module that is the page, and imports the others.
_MAIN = "main"

_POLICY: Mapping[str, str] = {
    "default-src": "'none'",
    "connect-src": "'self'",
    "img-src": "'self' data: blob:",
    "media-src": "data: blob:",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
    # The browser itself refuses to parse text as HTML.
    "require-trusted-types-for": "'script'",
    "trusted-types": "'none'",
}


@attrs.frozen
class Page:
    """
    The page, as it is sent: its styles and scripts are in it, and nothing else may run there.
    """

    body: bytes
    packed: bytes
    headers: Mapping[str, str]

    @classmethod
    def read(cls) -> Page:
        """
        Make the page of the files of this package.
        """
        style, script = (
            _read("style.css"),
            join_modules(_MAIN, lambda name: _read(f"{name}.js")),
        )
        page = _read("index.html").replace("/* style */", style)
        body = page.replace("/* script */", script).encode()
        policy = {
            **_POLICY,
            "script-src": f"'sha256-{_digest(script)}'",
            "style-src": f"'sha256-{_digest(style)}'",
        }
        headers = {
            "Cache-Control": "no-cache",
            "Content-Security-Policy": "; ".join(f"{key} {policy[key]}" for key in policy),
            "ETag": f'"{hashlib.sha256(body).hexdigest()[:32]}"',
            "Referrer-Policy": "no-referrer",
            "Vary": "Accept-Encoding",
            "X-Content-Type-Options": "nosniff",
        }
        return cls(body, gzip.compress(body, 9, mtime=0), headers)

    def answer(self, request: web.Request) -> web.Response:
        """
        Return the response to a request for it.
        """
        headers = {**self.headers}
        if headers["ETag"] in request.headers.get("If-None-Match", ""):
            return web.Response(status=304, headers=headers)
        body = self.body
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            body, headers["Content-Encoding"] = self.packed, "gzip"
        return web.Response(
            body=body, headers=headers, content_type="text/html", charset="utf-8"
        )


class DashboardPages:
    """
    Answers requests for the page.
    """

    def __init__(self) -> None:
        self._page = Page.read()

    def routes(self) -> Iterable[OpenRoute]:
        """
        Return the routes.
        """
        return [OpenRoute("GET", "/", self._show)]

    async def _show(self, request: web.Request) -> web.Response:
        return self._page.answer(request)


def _read(name: str) -> str:
    # A package in an archive has no files.
    data = pkgutil.get_data(__name__, f"static/{name}")
    assert data is not None
    return data.decode()


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
