"""
The shared memory of a worker.
"""

from __future__ import annotations

from typing import Any

import attrs

from fal_core.reprs import show_fields


@attrs.frozen
class Arenas:
    """
    Shared memory that a worker was started with.

    Attributes:
        inbound: The arena that the worker writes, as this end sees it.

        outbound: The arena that this end writes.

        page: A mapped page where the worker counts the items it has started.
    """

    __repr__ = show_fields

    inbound: Any
    outbound: Any
    page: Any
