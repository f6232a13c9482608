"""
Runners: agents that were launched on a host.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

import pytest
from bare_runners import make_runner, raised

from fal_core.events import Exited, Log, Outcome, Sealed
from fal_server.fleet.http_client import HttpClient
from fal_server.fleet.runners import Runner
from fal_server.store.log_lines import LogLine


@pytest.mark.parametrize(
    ("events", "sentence"),
    [
        ([Outcome(raised(ImportError("no")), True), Exited()], "raised ImportError: no"),
        ([Outcome(Sealed(b"")), Exited()], "It ended by itself before it was up."),
        ([Exited(code=3)], "exited with code 3"),
        ([Exited(signal=9)], "ended by SIGKILL"),
    ],
)
def test_every_end_has_a_reason(plane: Any, events: list[Any], sentence: str):
    """
    However a runner ends before it is up, the error and its log state the reason; a client
    that follows the log is not shown it twice.
    """
    echoed: list[LogLine] = []

    async def main() -> Runner:
        async with aclosing(HttpClient()) as exchanges:
            runner = make_runner(
                plane, exchanges, name="ends", echoes={"\0ends": echoed.append}
            )
            for event in [Log("its last line"), *events]:
                runner._events(event)
            await runner.ended.wait()
            return runner

    runner = plane.run(main())
    assert sentence in runner.why_it_ended
    assert runner.outcome.result().failure == runner.why_it_ended
    assert [line.message for line in echoed] == ["its last line"]
