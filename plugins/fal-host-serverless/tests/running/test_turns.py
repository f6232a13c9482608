"""Turns of calls of a function with a limit."""

from __future__ import annotations

import threading

from fal_core import function
from fal_host_serverless import FalServerlessHost
from fal_host_serverless.running.turns import Turns


def test_call_beyond_the_limit_waits_for_its_turn():
    """A call waits while as many calls hold turns as the limit allows, or until it may not."""

    @function("virtualenv", host=FalServerlessHost("127.0.0.1:1"), max_concurrency=1)
    def nothing() -> None:
        return None

    call = nothing.make_launcher().call(((), {}))
    turns, begun = Turns(), threading.Event()

    def take() -> None:
        with turns.taken(call, lambda: True):
            begun.set()

    with turns.taken(call, lambda: True):
        with turns.taken(call, lambda: False):
            pass  # A call that was cancelled waits no more.
        waiting = threading.Thread(target=take)
        waiting.start()
        # Nothing must come meanwhile.
        assert not begun.wait(0.3)
    assert begun.wait(60)
    waiting.join()
