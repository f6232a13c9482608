"""
The executor of one call at a time: calls that time out, or that fork their worker.
"""

from __future__ import annotations

import os
import signal
import time

import pytest

from fal_core import Timeout, function
from fal_host_local import LocalHost


def sleep(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def test_a_child_is_ended_by_a_signal_as_soon_as_it_was_forked():
    """
    A signal that ends a forked child is not lost, however early it comes.
    """

    @function("current")
    def fork() -> list[int]:
        endings = []
        for _ in range(300):
            child = os.fork()
            if not child:
                # Ends by the signal.
                time.sleep(30)
                os._exit(0)
            os.kill(child, signal.SIGTERM)
            endings.append(os.waitpid(child, 0)[1])
        return endings

    assert set(fork()) == {signal.SIGTERM}


@pytest.mark.faults
def test_the_fork_of_a_worker_does_not_answer_twice():
    """
    A function that forks and returns on both sides answers once.
    """

    @function("current")
    def fork() -> int:
        return 1 if os.fork() else 2

    assert fork() == 1
    assert function("current")(lambda x: x + 1)(1) == 2


def test_a_call_that_takes_too_long_is_ended(local_host: LocalHost):
    """
    A timeout ends the call, and its worker serves the next one.
    """
    options = {"max_concurrency": 1, "timeout": 0.3}
    # After the grace its worker would be killed.
    isolated = function("current", host=local_host, grace=60, **options)(sleep)
    in_time = isolated.with_policy(timeout=None)
    pid = in_time(0)

    with pytest.raises(Timeout, match=r"0\.3 s"):
        isolated(300)
    with pytest.raises(Timeout):
        isolated.submit(300).result(timeout=60)
    assert in_time(0) == pid
