"""
Pages of playgrounds as they are sent: the same for all applications, and with it what is told
of one that is open to everybody, so that the browser need not ask for it.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import os
import zlib
from collections.abc import Mapping

#: Where the page goes on after what is sent with it.
_END = b"</body>"

#: How many pages are kept compressed: anybody may ask for one again and again.
_KEPT = 32

#: The window of a stream that :mod:`zlib` writes as gzip.
_GZIP = 16 + zlib.MAX_WBITS


class PlaygroundPage:
    """
    The page, of which all that is the same for all applications is compressed once.

    Arguments:
        body: The HTML.

        headers: Those of its response, with lower-case names.

    Attributes:
        packed: Returns the page compressed, with what is sent with it: about a quarter of it.
    """

    def __init__(self, body: bytes, headers: Mapping[str, str]) -> None:
        before, end, after = body.rpartition(_END)
        self.headers = headers
        self._before, self._after = before, end + after
        self._packer = zlib.compressobj(9, wbits=_GZIP)
        self._packed = self._packer.compress(before)
        self.packed = functools.lru_cache(_KEPT)(self._pack)

    def tag(self, sent: bytes) -> str:
        """Return the ``etag`` of the page with what is *sent* with it."""
        own = self.headers["etag"]
        return f'"{hashlib.sha256(own.encode() + sent).hexdigest()[:32]}"' if sent else own

    def plain(self, sent: bytes) -> bytes:
        """Return the page."""
        return self._before + sent + self._after

    def _pack(self, sent: bytes) -> bytes:
        packer = self._packer.copy()
        return self._packed + packer.compress(sent + self._after) + packer.flush()


@functools.cache
def find_page() -> PlaygroundPage | None:
    """Return the page. None where the distribution with it is not installed, or it is turned off."""
    if os.environ.get("FAL_SERVE_PLAYGROUND") == "0":
        return None
    try:
        # No plugin imports another. This public name of one may not be installed.
        playground = importlib.import_module("fal_serve.playground")
    except ImportError:
        return None
    return PlaygroundPage(*playground.make_page(deployed=True))


def send_with_page(**told: bytes) -> bytes:
    """Return the elements of what is *told* of an application, as JSON by its name."""
    return b"".join(
        # In JSON this sign stands in texts alone, and an element ends with it.
        b'<script type="application/json" id="sent-%b">%b</script>'
        % (name.encode(), content.replace(b"<", rb"\u003c"))
        for name, content in told.items()
    )
