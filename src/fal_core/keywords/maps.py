"""The keywords of maps. Nothing imports it but type checkers."""

from __future__ import annotations

from typing import TypedDict


class MapKeywords(TypedDict, total=False):
    """What ``map`` takes beside the iterables."""

    ordered: bool
    """Give results in the order of the items, not as they come."""

    return_exceptions: bool
    """Give an exception in place of a result, do not raise it."""

    window: int | None
    """How many items may be under way at once."""

    progress: bool
    """Show how many items have ended, on standard error or in the notebook."""
