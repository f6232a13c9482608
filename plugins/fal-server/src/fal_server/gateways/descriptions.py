"""
Descriptions of revisions: the documents with which these were registered, as JSON.

Anybody may ask for the page of an application. A document is read once, beside the event
loop, and what is read and kept has bounds.
"""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import attrs
from google.protobuf.json_format import MessageToDict, SerializeToJsonError
from google.protobuf.struct_pb2 import Struct

from fal_server.errors import NotFound
from fal_server.specs.requested_environments import with_integers
from fal_server.state.tasks import uninterrupted
from fal_server.store.revisions import Revisions

#: The largest document that a page is made of, in bytes.
LARGEST = 1 << 20

#: The most descriptions that are kept, and the most bytes of them.
_MOST_KEPT, _MOST_BYTES = 1024, 64 << 20

#: The paths of an application that may be answered by the gateway.
PAGE, STATE, DOCUMENT = "/playground", "/playground/state", "/openapi.json"

#: Paths that lead a browser to the page, unless the application has something else there.
LEADING = ("/", "/docs", "/redoc", "/playground/")

PAGES = frozenset({PAGE, STATE, DOCUMENT, *LEADING})

_DOCUMENT, _ORDER, _OWN = "openapi", "declared_paths", "own_pages"

#: The most bytes of the paths of an application's own pages that are read.
_MOST_OWN = 1 << 16


@attrs.frozen
class Description:
    """
    How a revision is described.

    Attributes:
        document: Its OpenAPI document. Empty where there is none.

        own: The paths at which the application has pages of its own.

        order: The paths in the order in which they were declared, as JSON.

        trouble: Why no page is made of a document, as a sentence. Empty where one is, and
            where there is no document.
    """

    document: bytes = b""
    own: frozenset[str] = frozenset()
    order: bytes = b"[]"
    trouble: str = ""

    @property
    def size(self) -> int:
        """The bytes of what is kept of it."""
        return len(self.document) + len(self.order)


class Descriptions:
    """Finds the descriptions of revisions."""

    def __init__(self, revisions: Revisions) -> None:
        self._revisions = revisions
        self._kept: OrderedDict[str, Description] = OrderedDict()
        self._bytes = 0
        self._reading = asyncio.Lock()

    async def find(self, revision: str) -> Description:
        """Return how a revision is described."""
        kept = self._kept.get(revision)
        if kept is None:
            return await self._read(revision)
        self._kept.move_to_end(revision)
        return kept

    @uninterrupted
    async def _read(self, revision: str) -> Description:
        """
        Read a description, whether or not who asked for it waits: one at a time, so that
        many who ask take no more of the processor than one.
        """
        async with self._reading:
            if revision in self._kept:
                return self._kept[revision]
            try:
                request = await self._revisions.request_of(revision)
            except NotFound:
                return Description()
            found = await asyncio.to_thread(describe, request.metadata)
            self._kept[revision] = found
            self._bytes += found.size
            while len(self._kept) > _MOST_KEPT or self._bytes > _MOST_BYTES:
                _, oldest = self._kept.popitem(last=False)
                self._bytes -= oldest.size
            return found


def describe(metadata: Struct) -> Description:
    """Return what the metadata of a revision tells."""
    fields = metadata.fields
    if _DOCUMENT not in fields or not fields[_DOCUMENT].HasField("struct_value"):
        return Description()
    if sum(fields[name].ByteSize() for name in (_DOCUMENT, _ORDER) if name in fields) > LARGEST:
        return Description(
            own=_read_own(metadata),
            trouble=f"The application has no playground: its OpenAPI document is larger than "
            f"{LARGEST >> 20} MiB. Shorten it, or serve a page of the application's own.",
        )
    try:
        document = with_integers(MessageToDict(fields[_DOCUMENT]))
        order = with_integers(MessageToDict(fields[_ORDER])) if _ORDER in fields else []
    except (ValueError, SerializeToJsonError):
        return Description(
            own=_read_own(metadata),
            trouble="The application has no playground: its OpenAPI document has a number that "
            "is none in JSON, such as NaN.",
        )
    own = _read_own(metadata) | _read_paths(document) & PAGES
    return Description(json.dumps(document).encode(), own, json.dumps(order).encode())


def _read_own(metadata: Struct) -> frozenset[str]:
    """
    Return the paths in :data:`PAGES` at which the routes of an application have something
    to read. One with a parameter takes no page of the gateway but those that lead to it.
    """
    fields = metadata.fields
    if _OWN not in fields or fields[_OWN].ByteSize() > _MOST_OWN:
        return frozenset()
    routes = [value.string_value for value in fields[_OWN].list_value.values]
    found = PAGES.intersection(routes)
    return found.union(page for page in LEADING if any(_takes(each, page) for each in routes))


def _takes(route: str, page: str) -> bool:
    """Return whether a route with one parameter is that of *page*."""
    before, brace, rest = route.partition("{")
    name, _, after = rest.partition("}")
    _, _, kind = name.partition(":")
    if not brace or "{" in after or not (page.startswith(before) and page.endswith(after)):
        return False
    value = page[len(before) : len(page) - len(after)]
    if len(before) + len(after) > len(page) or kind not in ("", "str", "path"):
        return False
    return kind == "path" or (value != "" and "/" not in value)


def _read_paths(document: Mapping[str, Any]) -> frozenset[str]:
    """Return the paths of a document at which there is something to read."""
    paths = document.get("paths")
    items = paths.items() if isinstance(paths, dict) else ()
    return frozenset(path for path, item in items if isinstance(item, dict) and "get" in item)
