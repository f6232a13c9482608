"""Entries: what a store keeps, as ``fal-core env`` lists and removes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from fal_core.reprs import show_fields


@attrs.frozen(kw_only=True)
class StoredEntry:
    """
    One thing that a store keeps.

    Attributes:
        kind: The kind of environment that it belongs to.

        key: Names it within its store.

        path: Where it is; empty if something else keeps it, such as a container engine.

        size: Bytes on the disk; files that are shared with others count in full.

        created: Seconds since the epoch, as *last_used* is.

        in_use: Whether a process uses it now.

        fault: What is wrong with it, as far as a quick look shows; None if nothing.

        summary: What is in it, in a few words, as in ``numpy>=2 torch``.

        details: What else machines may want to know, as JSON has it.
    """

    __repr__ = show_fields

    kind: str
    key: str
    path: str = ""
    size: int
    created: float
    last_used: float
    in_use: bool = False
    fault: str | None = None
    summary: str = ""
    details: Mapping[str, Any] = attrs.field(factory=dict)
