"""The messages of a run: its log lines, and its outcome."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, TypeAlias

from google.protobuf.message_factory import GetMessageClass
from isolate_proto import HostedRunResult, HostedRunStatus

from fal_core.errors import EnvironmentBuildError, StartupTimeout
from fal_core.events import Log
from fal_server.errors import Invalid, Refusal
from fal_server.fleet.call_outcomes import CallOutcome
from fal_server.grpc.messages import line_of, to_log
from fal_server.logs.line_buffers import LineQueue
from fal_server.logs.log_lines import LogLine

_FIELDS: Any = HostedRunResult.DESCRIPTOR.fields_by_name
_Serialized: Any = GetMessageClass(_FIELDS["return_value"].message_type)

#: The most bytes of lines that wait for the caller of a run.
_WAITING = 64 << 20

#: The lines and messages of a run, as they come; None ends them.
Results: TypeAlias = LineQueue[HostedRunResult | None]


def make_results() -> LineQueue[Any]:
    """Return a queue for the lines and messages of a run."""
    return LineQueue(_WAITING, "they came faster than they were read.")


async def results_until_end(results: Results) -> AsyncIterator[HostedRunResult]:
    """
    Yield the messages of a run until there is a None. Lines that wait are put into one
    message.
    """
    while True:
        lines: list[LogLine] = []
        for each in await results.take():
            if isinstance(each, LogLine):
                lines.append(each)
                continue
            if lines:
                yield printed(lines)
                lines = []
            if each is None:
                return
            yield each
        if lines:
            yield printed(lines)


def printed(lines: Sequence[LogLine]) -> HostedRunResult:
    """Return a message with lines of a run."""
    state = HostedRunStatus(state=HostedRunStatus.IN_PROGRESS)
    return HostedRunResult(logs=[to_log(line) for line in lines], status=state)


def failed(sentence: str) -> HostedRunResult:
    """Return the last message of a run that has no outcome, where others follow it."""
    line = line_of(Log(sentence, "ERROR", "BRIDGE", time.time()))
    state = HostedRunStatus(state=HostedRunStatus.INTERNAL_FAILURE)
    return HostedRunResult(logs=[to_log(line)], status=state)


def told_by_builder(cause: BaseException | None) -> HostedRunResult:
    """Return a message with the error of a build, if *cause* is one."""
    logs = []
    if isinstance(cause, EnvironmentBuildError):
        logs = [to_log(line_of(Log(str(cause), "ERROR", "BUILDER", time.time())))]
    return HostedRunResult(logs=logs, status=HostedRunStatus(state=HostedRunStatus.IN_PROGRESS))


def refusal_of(
    sentence: str, cause: BaseException | None, otherwise: type[Refusal] | None = None
) -> Refusal:
    """
    Return the refusal for a run that has no outcome.

    Arguments:
        otherwise: Its class, where neither *cause* nor *sentence* decides.
    """
    if isinstance(cause, EnvironmentBuildError):
        return Invalid(str(cause))
    if isinstance(cause, StartupTimeout):
        return StartTookTooLong(sentence)
    if "serializing the execution result" in sentence:
        return Invalid(sentence)
    return (otherwise or RunnerFailed)(sentence)


def finish(outcome: CallOutcome) -> HostedRunResult:
    """
    Return the last message of a run.

    Raises:
        Refusal: There is no outcome.
    """
    if outcome.failure:
        raise refusal_of(outcome.failure, None)
    value = _Serialized(
        method=outcome.method, definition=outcome.data, was_it_raised=outcome.raised
    )
    if outcome.raised:
        value.stringized_traceback = outcome.traceback
        value.exception_type_name = outcome.type_name
        value.exception_message = outcome.text
    return HostedRunResult(
        status=HostedRunStatus(state=HostedRunStatus.SUCCESS), return_value=value
    )


class RunnerFailed(Refusal):
    """The runner failed, and not its function."""

    status = "ABORTED"
    http = 502


class DidNotStart(Refusal):
    """No runner came up for the function."""

    status = "INTERNAL"


class StartTookTooLong(Refusal):
    """A service was not ready in time."""

    status = "DEADLINE_EXCEEDED"
    http = 504
