"""Checks that ``fal-core doctor`` runs."""

from __future__ import annotations

from collections.abc import Callable

import attrs


@attrs.frozen
class Finding:
    """
    What a check found.

    Attributes:
        ok: Whether the check passed.

        message: One sentence; where the check failed, it says what to do.
    """

    ok: bool
    message: str


@attrs.frozen
class Check:
    """One thing that can be wrong with this machine."""

    name: str
    run: Callable[[], Finding]
