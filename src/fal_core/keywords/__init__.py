"""Keywords: the options of the installed kinds and hosts, as type checkers and editors know them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fal_core.exports import lazily

if TYPE_CHECKING:
    from fal_core.keywords.hosts import FunctionKeywords, HostKeywords, PolicyKeywords
    from fal_core.keywords.options import AnyKeywords

__all__ = ["AnyKeywords", "FunctionKeywords", "HostKeywords", "PolicyKeywords"]

_exports = lazily(
    __name__,
    {
        "AnyKeywords": "fal_core.keywords.options",
        "FunctionKeywords": "fal_core.keywords.hosts",
        "HostKeywords": "fal_core.keywords.hosts",
        "PolicyKeywords": "fal_core.keywords.hosts",
    },
)

if not TYPE_CHECKING:
    # For type checkers, a name that is not there is an error.
    __getattr__, __dir__ = _exports
