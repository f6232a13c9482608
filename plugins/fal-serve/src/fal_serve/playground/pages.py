"""
The page of the playground, made for the OpenAPI document of a service.

The page is a single response: ``page.html`` with ``page.css`` and the scripts inlined.
The browser then requests only the document and the service itself.
"""

from __future__ import annotations

import base64
import hashlib
import pkgutil
from typing import TYPE_CHECKING
from uuid import uuid4

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

PATH = "/playground"
#: Requested by each open page every few seconds, and left out of the access log.
STATE_PATH = "/playground/state"

#: Paths that lead to the playground, unless the service has something else there.
LEADING = ("/", "/docs", "/redoc")

_FOREIGN_PAGES = ("swagger_ui_html", "swagger_ui_redirect", "redoc_html")

#: The scripts, in the order of their dependencies.
_SCRIPTS = (
    "elements",
    "msgpack",
    "schemas",
    "fields",
    "inputs",
    "compounds",
    "forms",
    "trees",
    "media",
    "access",
    "answers",
    "requests",
    "queues",
    "histories",
    "endpoints",
    "snippets",
    "editors",
    "calls",
    "sockets",
    "page",
)

_POLICY = {
    "default-src": "'none'",
    "connect-src": "'self'",
    # An output may refer to media anywhere. Nothing but outputs does.
    "img-src": "* data: blob:",
    "media-src": "* data: blob:",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
    # The browser itself refuses to parse text as HTML.
    "require-trusted-types-for": "'script'",
    "trusted-types": "'none'",
}


def add_playground(application: Starlette) -> None:
    """Add the routes of the playground to *application*."""
    from starlette.responses import JSONResponse, RedirectResponse, Response

    body, headers = make_page()
    # An open page sees by it that the service was restarted.
    instance = uuid4().hex

    async def playground(request: Request) -> Response:
        if headers["etag"] in request.headers.get("if-none-match", ""):
            return Response(None, 304, headers)
        return Response(body, headers=headers, media_type="text/html; charset=utf-8")

    async def state(request: Request) -> Response:
        order = getattr(application.state, "fal_declared_paths", [])
        told = {"instance": instance, "order": order}
        return JSONResponse(told, headers={"cache-control": "no-store"})

    async def lead(request: Request) -> Response:
        return RedirectResponse(f"{request.scope.get('root_path', '')}{PATH}", 307)

    routes = application.router.routes
    # FastAPI's pages of documents load their scripts from another host.
    routes[:] = [each for each in routes if getattr(each, "name", "") not in _FOREIGN_PAGES]
    taken = {
        getattr(each, "path", "")
        for each in routes
        if "GET" in (getattr(each, "methods", None) or ())
    }
    for path, endpoint in ((PATH, playground), (STATE_PATH, state)):
        application.router.add_route(path, endpoint, ["GET"], include_in_schema=False)
    for path in LEADING:
        if path not in taken:
            application.router.add_route(path, lead, ["GET"], include_in_schema=False)


def make_page(*, deployed: bool = False) -> tuple[bytes, dict[str, str]]:
    """
    Return the page, as HTML, and the headers of its response, with lower-case names: among
    them an ``etag``, and a ``content-security-policy`` whose ``connect-src`` is ``'self'``.

    Arguments:
        deployed: Whether a gateway serves it for a deployed application, which may need a
            key, and where nothing may run.
    """
    style = _read("page.css")
    script = "\n".join(_read(f"{name}.js") for name in _SCRIPTS)
    page = _read("page.html").replace("/* style */", style).replace("/* script */", script)
    if deployed:
        page = page.replace(' data-theme="auto"', ' data-theme="auto" data-deployed', 1)
    body = page.encode()
    policy = {
        **_POLICY,
        "script-src": f"'sha256-{_digest(script)}'",
        "style-src": f"'sha256-{_digest(style)}'",
    }
    return body, {
        "cache-control": "no-cache",
        "content-security-policy": "; ".join(f"{key} {policy[key]}" for key in policy),
        "etag": f'"{hashlib.sha256(body).hexdigest()[:32]}"',
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
    }


def _read(name: str) -> str:
    # A package in an archive has no files.
    data = pkgutil.get_data(__name__, name)
    assert data is not None
    return data.decode()


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
