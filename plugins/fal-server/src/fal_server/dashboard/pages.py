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
import re
from collections.abc import Callable, Iterable, Mapping

import attrs
from aiohttp import web

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
    """The page, as it is sent: its styles and scripts are in it, and nothing else may run there."""

    body: bytes
    packed: bytes
    headers: Mapping[str, str]

    @classmethod
    def read(cls) -> Page:
        """Make the page of the files of this package."""
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
        """Return the response to a request for it."""
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
    """Answers requests for the page."""

    def __init__(self) -> None:
        self._page = Page.read()

    def routes(self) -> Iterable[OpenRoute]:
        """Return the routes."""
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


# A browser that has nothing of the page yet asks for each module by itself, a few at a time.
# In one script that is a part of the page, they are there with it. Each module is a function of
# its own, so that what it does not export stays its own.

_IMPORT = re.compile(r'^import \{([^}]*)\} from "\./(\w+)\.js";\n', re.M)
_EXPORT = re.compile(r"^export (?=((?:async )?function\*?|const|class) (\w+))", re.M)
_LEFT = re.compile(r"^(?:import|export)\b.*", re.M)


def join_modules(name: str, read: Callable[[str], str]) -> str:
    """
    Return one script that does what the module *name* does with those that it imports.

    Arguments:
        read: Returns the text of a module.

    Raises:
        ValueError: A module imports or exports in a way that is not known here, as with
            ``export let``, whose value others would not see change; or modules import each
            other.
    """
    joined: dict[str, str] = {}
    _add(name, read, joined, ())
    return "\n".join(joined.values())


def _add(
    name: str, read: Callable[[str], str], joined: dict[str, str], above: tuple[str, ...]
) -> None:
    if name in joined:
        return
    if name in above:
        raise ValueError(f"Modules import each other: {', '.join((*above, name))}.")
    text = read(name)
    imports = []
    for names, source in _IMPORT.findall(text):
        _add(source, read, joined, (*above, name))
        imports.append(f"const {{{names}}} = module_{source};\n")
    exported = ", ".join(match[2] for match in _EXPORT.finditer(text))
    body = "".join(imports) + _EXPORT.sub("", _IMPORT.sub("", text))
    left = _LEFT.search(body)
    if left is not None:
        raise ValueError(f"In the module {name!r}, this cannot be joined: {left[0]!r}.")
    # What is imported by nobody may wait for something at its top.
    is_last = not above
    joined[name] = (
        body
        if is_last
        else f"const module_{name} = (() => {{\n{body}return {{ {exported} }};\n}})();"
    )
