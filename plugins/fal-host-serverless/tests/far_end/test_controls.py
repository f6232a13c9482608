"""The ends of calls in an agent."""

from __future__ import annotations

import asyncio
import threading

import pytest

from fal_host_serverless.far_end import controls


def test_result_after_the_end_of_the_agent_is_dropped():
    """A result after the end of the agent is dropped without an error."""
    begun, over = threading.Event(), threading.Event()
    threads: list[threading.Thread] = []

    def work() -> None:
        threads.append(threading.current_thread())
        begun.set()
        assert over.wait(60)

    async def leave() -> None:
        control = controls.CallControl({"serve": False, "address": "127.0.0.1"})
        call = asyncio.create_task(controls.run_controlled(control, work))
        await asyncio.to_thread(begun.wait, 60)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    asyncio.run(leave())
    (thread,) = threads
    raised: list[threading.ExceptHookArgs] = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(threading, "excepthook", raised.append)
        over.set()
        thread.join(60)
    assert not thread.is_alive()
    assert thread not in [each.thread for each in raised]
