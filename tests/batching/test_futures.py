"""
Futures of submitted calls.
"""

from __future__ import annotations

import time

from fal_core import Timeout, function
from fal_host_local import LocalHost


def wait(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def test_submitted_calls_wait_on_their_own_time(local_host: LocalHost):
    """
    A submitted call has its time from its submission, also while others run.
    """
    isolated = function("current", host=local_host, max_concurrency=1, timeout=1)(wait)
    in_time = isolated.with_policy(timeout=None)
    assert in_time(0) == 0

    futures = [isolated.submit(60) for _ in range(5)]

    assert [type(future.exception(30)) for future in futures] == [Timeout] * 5
    assert in_time(0) == 0
