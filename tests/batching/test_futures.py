"""
Futures of submitted calls.
"""

from __future__ import annotations

import time

import pytest

from fal_core import OptionError, Timeout, function
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


def test_submitted_call_takes_no_idempotency_key(local_host: LocalHost):
    """
    A function without a parameter *key* refuses one where it is submitted, as no host keeps a
    call from being made twice; a function's own argument of that name is passed on.
    """
    isolated = function("current", host=local_host)(wait)
    with pytest.raises(OptionError, match=r"wait.* no parameter 'key'.*'local'"):
        isolated.submit(0, key="order 7")  # type: ignore[call-arg]

    @function("current", host=local_host)
    def own(key: str) -> str:
        return key

    @function("current", host=local_host)
    def any_names(**named: str) -> dict[str, str]:
        return named

    assert own.submit(key="a").result() == "a"
    assert any_names.submit(key="b").result() == {"key": "b"}
