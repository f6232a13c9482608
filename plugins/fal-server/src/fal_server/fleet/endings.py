"""Endings: why a runner ended, where its host does not say."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pickle import UnpicklingError
from typing import Any

import attrs

from fal_core.errors import EnvironmentBuildError, OutOfMemory, WorkerLost
from fal_core.events import Event, Exited, Log, Sealed, Sink
from fal_core.facts import facts_of
from fal_core.sealing import open_plain
from fal_server.fleet.call_outcomes import CallOutcome
from fal_server.state.texts import valid_text
from fal_server_agent.limits import has_ended_some
from fal_server_agent.outcomes import ApplicationFailed

#: The longest sentence of an agent, and the longest reason or traceback, in characters.
_LONGEST, LONGEST_REASON = 2000, 16_000

_TRACEBACK = "Traceback (most recent call last):"

#: The largest error of an agent that is read, in bytes. It is read on the event loop.
LARGEST_ERROR = 1 << 20


@attrs.frozen
class AgentError:
    """
    An error of the agent itself.

    Attributes:
        sentence: The error, for clients that wait for the runner.

        traceback: Its traceback. Empty where that would not help.

        is_reported: Whether it only repeats for the host what the agent itself reports of
            the application that it served.
    """

    sentence: str
    traceback: str = ""
    is_reported: bool = False


def telling_of_memory(take: Sink, group: str) -> Sink:
    """
    Return a sink around *take*, of a runner whose memory the control group *group* limits: one
    that the group has ended is reported as out of memory. Its host knows of no such group.
    """

    def tell(event: Event) -> None:
        reason = event.reason if isinstance(event, Exited) else None
        # A host that limits memory itself knows more of it.
        if (
            isinstance(reason, WorkerLost)
            and not isinstance(reason, OutOfMemory)
            and reason.signal == signal.SIGKILL
            and has_ended_some(group)
        ):
            known = {name: getattr(reason, name) for name in facts_of(WorkerLost)}
            event = Exited(reason=OutOfMemory(**known))
        take(event)

    return tell


class PrintedErrors:
    """
    Finds the exceptions in what a runner prints.

    Attributes:
        last: The last line of the last traceback, as in ``ValueError: It is wrong.`` Empty
            where there is none.
    """

    def __init__(self) -> None:
        self.last = ""
        self._is_in_traceback = False

    def take(self, message: str) -> None:
        """Take what is printed, of one line or of several."""
        if not self._is_in_traceback and _TRACEBACK not in message:
            return
        for line in message.splitlines():
            if line.endswith(_TRACEBACK):
                self._is_in_traceback = True
            elif self._is_in_traceback and line.strip() and not line[0].isspace():
                self.last = valid_text(line[:_LONGEST])
                self._is_in_traceback = False


def read_agent_error(sealed: Sealed, printed: str = "") -> AgentError:
    """
    Read the error that an agent has raised.

    Arguments:
        printed: The last exception that it has printed. Empty where there is none.

    Code of users runs in the process of the agent, so that no more than texts is taken from
    what it sends, and nothing is unpickled. An error of more than :data:`LARGEST_ERROR` bytes
    is not read at all.
    """
    if len(sealed.data) > LARGEST_ERROR:
        return AgentError(
            f"Its agent raised an error of {len(sealed.data)} bytes, of which at most "
            f"{LARGEST_ERROR} are read."
        )
    try:
        record = open_plain(sealed)
        qualname, message, traceback = map(
            _text, (record["class"][1], record["message"], record["traceback"])
        )
        own = "own" in record
    except (LookupError, TypeError, UnpicklingError):
        return AgentError("Its agent raised an error that cannot be read.")
    if own:
        return AgentError(message[:_LONGEST])
    if qualname == ApplicationFailed.__qualname__:
        return AgentError(message[:_LONGEST], is_reported=True)
    if qualname == "SystemExit":
        return AgentError(_describe_sys_exit(message, printed))
    sentence = f"Its agent raised {qualname[:_LONGEST]}: {message[:_LONGEST]}".rstrip(": ")
    return AgentError(sentence[:_LONGEST], traceback.rstrip()[-LONGEST_REASON:])


def _text(value: Any) -> str:
    if type(value) is not str:
        raise TypeError
    return valid_text(value)


def _describe_sys_exit(message: str, printed: str) -> str:
    ended = f"ended with sys.exit({message[:_LONGEST]})."
    if printed and message.isdigit():
        # A server that could not start exits with a number, and has printed why.
        return f"{printed.rstrip('.')}. Its function then {ended}"
    return f"Its function {ended}"


def describe_outcome(outcome: CallOutcome | None, printed: str = "") -> str:
    """
    Return the error that a function reported instead of serving. Empty where there is none.

    Arguments:
        printed: The last exception that it has printed. Empty where there is none.
    """
    if outcome is None:
        return ""
    if outcome.raised and outcome.type_name == "SystemExit":
        return _describe_sys_exit(outcome.text, printed)
    if outcome.raised:
        return f"{outcome.type_name}: {outcome.text}"
    return outcome.failure


def describe_exit(event: Exited, *, has_returned: bool) -> str:
    """
    Return why a runner ended that did not come up and was not told to end.

    Arguments:
        has_returned: Whether its function has returned.
    """
    if event.code or event.signal is not None:
        return str(WorkerLost(event.code, event.signal))
    if has_returned:
        return "Its function returned before it served anything."
    return "It ended by itself before it was up."


def make_lines(
    sentence: str, traceback: str, cause: BaseException | None, now: float
) -> Iterator[Log]:
    """Yield the log lines about a runner that ended unexpectedly."""
    for message in filter(None, (traceback.rstrip(), sentence)):
        built = not isinstance(cause, EnvironmentBuildError)
        yield Log(message, "ERROR", "BRIDGE" if built else "BUILDER", now)


class RunnerLost(Exception):
    """A runner ended during a request to its agent. The argument says why."""
