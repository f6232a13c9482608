"""Keywords: the options of the installed kinds and hosts, as type checkers and editors know them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fal_core.exports import lazily

if TYPE_CHECKING:
    from fal_core.keywords.hosts import FunctionKeywords as FunctionKeywords
    from fal_core.keywords.hosts import HostKeywords as HostKeywords
    from fal_core.keywords.hosts import PolicyKeywords as PolicyKeywords
    from fal_core.keywords.options import AnyKeywords as AnyKeywords
else:
    # For type checkers, a name that is not there is an error.
    __getattr__, __dir__, __all__ = lazily(
        __name__,
        {
            "fal_core.keywords.hosts": "FunctionKeywords HostKeywords PolicyKeywords",
            "fal_core.keywords.options": "AnyKeywords",
        },
    )
