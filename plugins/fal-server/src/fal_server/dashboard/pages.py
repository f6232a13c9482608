"""
The pages of the dashboard, as the files of this package. They hold nothing of an account.
"""

from __future__ import annotations

import gzip
import hashlib
import pkgutil
from collections.abc import Iterable, Mapping

import attrs
from aiohttp import web

from fal_server.http.api import OpenRoute

#: The files, and what each is.
FILES: Mapping[str, str] = {
    "index.html": "text/html",
    "style.css": "text/css",
    **{
        f"{name}.js": "text/javascript"
        for name in (
            *("main", "session", "elements", "formats", "live", "plots", "tables"),
            *(
                "applications",
                "application",
                "runners",
                "requests",
                "logs",
                "access",
                "machines",
                "usages",
            ),
        )
    },
}

_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data: blob:",
        "media-src data: blob:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        # The browser itself refuses to parse text as HTML.
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)

_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": _POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@attrs.frozen
class PageFile:
    """
    One file of the pages, as it is sent.
    """

    body: bytes
    packed: bytes
    kind: str
    tag: str

    @classmethod
    def read(cls, name: str, kind: str) -> PageFile:
        """
        Read a file of this package.
        """
        # A package in an archive has no files.
        body = pkgutil.get_data(__name__, f"static/{name}")
        assert body is not None
        tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        return cls(body, gzip.compress(body, 9, mtime=0), kind, tag)

    def answer(self, request: web.Request) -> web.Response:
        """
        Return the response to a request for it.
        """
        headers = {**_HEADERS, "ETag": self.tag, "Vary": "Accept-Encoding"}
        if self.tag in request.headers.get("If-None-Match", ""):
            return web.Response(status=304, headers=headers)
        body = self.body
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            body, headers["Content-Encoding"] = self.packed, "gzip"
        return web.Response(body=body, headers=headers, content_type=self.kind, charset="utf-8")


class DashboardPages:
    """
    Answers requests for the pages.
    """

    def __init__(self) -> None:
        self._files = {name: PageFile.read(name, kind) for name, kind in FILES.items()}

    def routes(self) -> Iterable[OpenRoute]:
        """
        Return the routes.
        """
        return [
            OpenRoute("GET", "/", self._show_index),
            OpenRoute("GET", "/dashboard/files/{name}", self._show_file),
        ]

    async def _show_index(self, request: web.Request) -> web.Response:
        return self._files["index.html"].answer(request)

    async def _show_file(self, request: web.Request) -> web.Response:
        file = self._files.get(request.match_info["name"])
        if file is None:
            raise web.HTTPNotFound
        return file.answer(request)
