"""Waiting in tests: poll a condition until it holds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

#: Seconds that anything may take; most takes a fraction of one.
PATIENCE = 120


def settle(check: Callable[[], Any], *, hint: Callable[[], object] = str) -> None:
    """
    Wait until *check* returns something true, and fail after `PATIENCE` seconds.

    Arguments:
        hint: Returns what the failure shows, such as the output of a process.
    """
    deadline = time.monotonic() + PATIENCE
    while not check():
        assert time.monotonic() < deadline, hint()
        time.sleep(0.02)
