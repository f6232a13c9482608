"""The messages of a run: lines in blocks, and how it ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from isolate_proto import HostedRunResult, HostedRunStatus

from fal_core.errors import EnvironmentBuildError, StartupTimeout
from fal_server.errors import Invalid, Refusal
from fal_server.fleet.call_outcomes import CallOutcome
from fal_server.grpc.run_results import (
    DidNotStart,
    finish,
    make_results,
    refusal_of,
    results_until_end,
    told_by_builder,
)
from fal_server.logs.log_lines import LogLine


def line(message: str) -> LogLine:
    return LogLine(message=message, account_id="me", application="app", runner_id="r")


def texts(result: HostedRunResult) -> Any:
    return result.run_id or [log.message for log in result.logs]


def test_waiting_lines_are_one_message():
    """
    Lines that wait are put into one message, in their order with the other messages; what
    comes after the end is dropped.
    """

    async def main() -> None:
        results = make_results()
        for each in ("a", "b"):
            results.put_nowait(line(each))
        results.put_nowait(HostedRunResult(run_id="between"))
        results.put_nowait(line("c"))
        messages = results_until_end(results)
        assert texts(await anext(messages)) == ["a", "b"]
        # A message that comes meanwhile stands by itself.
        results.put_nowait(line("d"))
        assert texts(await anext(messages)) == "between"
        assert texts(await anext(messages)) == ["c"]
        for each in (line("e"), None, line("late")):
            results.put_nowait(each)
        assert [texts(each) async for each in messages] == [["d", "e"]]

    asyncio.run(main())


@pytest.mark.parametrize(
    ("cause", "sentence", "status"),
    [
        (EnvironmentBuildError("virtualenv", "No wheel."), "", "INVALID_ARGUMENT"),
        (StartupTimeout(3.0), "Too late.", "DEADLINE_EXCEEDED"),
        (None, "Error while serializing the execution result (x).", "INVALID_ARGUMENT"),
        (LookupError(), "It ended.", "ABORTED"),
        (None, "It ended.", "ABORTED"),
    ],
)
def test_status_of_a_run_without_an_outcome(cause: Any, sentence: str, status: str):
    """
    Clients know by the status code whether the environment, the time, the result or the
    runner was at fault.
    """
    refusal = refusal_of(sentence, cause)
    assert refusal.status == status
    assert (sentence or "No wheel.") in str(refusal)
    is_undecided = status == "ABORTED"
    assert isinstance(refusal_of(sentence, cause, DidNotStart), DidNotStart) is is_undecided


def test_last_message_of_a_run():
    """
    A run ends with what its function returned or raised, serialized as it came; without an
    outcome it is refused.
    """
    last = finish(CallOutcome(method="dill", data=b"\xff"))
    assert last.status.state == HostedRunStatus.SUCCESS
    value = last.return_value
    assert (value.method, value.definition, value.was_it_raised) == ("dill", b"\xff", False)
    raised = CallOutcome(
        raised=True, method="dill", data=b"e", traceback="trace", type_name="E", text="no"
    )
    value = finish(raised).return_value
    assert value.was_it_raised
    found = (value.stringized_traceback, value.exception_type_name, value.exception_message)
    assert found == ("trace", "E", "no")
    with pytest.raises(Refusal, match="It broke"):
        finish(CallOutcome(failure="It broke."))


def test_error_of_a_build_is_a_line_of_the_builder():
    """The error of a build is shown as a line, and no other error."""
    (log,) = told_by_builder(EnvironmentBuildError("virtualenv", "No wheel.")).logs
    assert "No wheel." in log.message
    for cause in (None, Invalid("no")):
        assert not told_by_builder(cause).logs
