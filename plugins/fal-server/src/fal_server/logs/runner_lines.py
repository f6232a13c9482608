"""The lines that runners print: stored, and passed to clients that wait for them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import attrs

from fal_core.events import Log
from fal_server.logs.log_lines import TRACEBACK, LogLine, to_micros
from fal_server.logs.logs import Logs
from fal_server.specs.runner_specs import RunnerSpec
from fal_server_agent.messages import END_OF_LOGS

# Applications of fal print an error as a record in JSON, and others its traceback by lines.

#: The most lines and characters that wait for the end of a traceback, and the most outputs
#: that may be in one at once.
_MOST_LINES, _MOST_CHARACTERS, _MOST = 1000, 1 << 18, 64


@attrs.define
class _Held:
    """The lines of a traceback whose end has not come."""

    first: LogLine
    messages: list[str]
    size: int


@attrs.define(eq=False)
class Tracebacks:
    """Puts the lines of each traceback together."""

    _held: dict[tuple[str | None, str], _Held] = attrs.field(factory=dict)

    def take(self, line: LogLine) -> Sequence[LogLine]:
        """Return the lines that are complete with *line*."""
        key = line.request_id, line.level
        held = self._held.get(key)
        if held is None:
            return self._begin(line)
        message = line.message
        if not message.strip() or _is_beginning(message):
            # It has no last line, as that of a group of errors.
            del self._held[key]
            return [_join(held), *self._begin(line)]
        held.messages.append(message)
        held.size += len(message)
        is_last = not message[0].isspace()
        if is_last or len(held.messages) > _MOST_LINES or held.size > _MOST_CHARACTERS:
            del self._held[key]
            return [_join(held)]
        return ()

    def flush(self) -> Iterator[LogLine]:
        """Yield what waits for lines that do not come."""
        held, self._held = self._held, {}
        for each in held.values():
            yield _join(each)

    def _begin(self, line: LogLine) -> Sequence[LogLine]:
        message = line.message
        if message.startswith("{"):
            text = _traceback_in(message)
            return [attrs.evolve(line, message=text, level="ERROR") if text else line]
        if not _is_beginning(message) or "\n" in message:
            return [line]
        released = [*self.flush()] if len(self._held) >= _MOST else []
        key = line.request_id, line.level
        self._held[key] = _Held(line, [message], len(message))
        return released


def _join(held: _Held) -> LogLine:
    level = held.first.level if len(held.messages) == 1 else "ERROR"
    return attrs.evolve(held.first, message="\n".join(held.messages), level=level)


def _is_beginning(message: str) -> bool:
    return message.rstrip().endswith(f"{TRACEBACK}:")


def _traceback_in(message: str) -> str:
    """Return the traceback in a record in JSON. Empty where there is none."""
    if TRACEBACK not in message:
        return ""
    try:
        facts = json.loads(message)
    except (ValueError, RecursionError):
        return ""
    traceback = facts.get("traceback") if isinstance(facts, dict) else None
    return traceback.strip() if isinstance(traceback, str) else ""


#: Lines by which fal-core's clients see that a call was deserialized, and started. They
#: wait for these lines, which are of no use afterwards.
_SIGNS = frozenset({"\x1ffal-core:0:o:", "\x1ffal-core:0:s:"})

#: Lines that somebody waits for, and that are never too many.
NEEDED = _SIGNS | {END_OF_LOGS}

#: Seconds after which the lines of a runner that was found again are new, even if a clock
#: that was set says otherwise.
_RETOLD = 30.0


@attrs.define(eq=False)
class RunnerLines:
    """
    The lines of one runner.

    Attributes:
        starting_request: The request that its lines belong to until it has requests.

        call_id: The call that it runs, if it runs one at a time. Empty where there is none.

        follow: Called with each line, in addition to the echoes. None for nothing.

        known_until: When the last line was printed that an earlier server has stored, in
            seconds since the epoch. 0 where there is none.
    """

    runner_id: str
    spec: RunnerSpec
    _logs: Logs
    _echoes: Mapping[str, Callable[[LogLine], None]]
    starting_request: str = ""
    call_id: str = attrs.field(default="", init=False)
    follow: Callable[[LogLine], None] | None = attrs.field(default=None, init=False)
    known_until: float = 0.0
    _made: float = attrs.field(factory=time.monotonic, init=False)
    _calls: dict[str, asyncio.Event] = attrs.field(factory=dict, init=False)
    _tracebacks: Tracebacks = attrs.field(factory=Tracebacks, init=False)

    @contextlib.contextmanager
    def all_of(self, call: str) -> Iterator[asyncio.Event]:
        """Yield an event that is set once all lines of a call have arrived."""
        done = self._calls[call] = asyncio.Event()
        self.call_id = call
        try:
            yield done
        finally:
            self.call_id = ""
            self._calls.pop(call, None)

    def end(self) -> None:
        """Release those who wait for lines that will not come."""
        for line in self._tracebacks.flush():
            self._logs.add(line)
        for done in self._calls.values():
            done.set()

    def take(self, event: Log, *, is_echoed: bool = True) -> None:
        """
        Store a line, unless an earlier server has.

        Arguments:
            is_echoed: Whether to pass it to clients that wait for lines.
        """
        # Lines that do not go through Python, as those of child processes, name no call.
        request = event.request_id or self.call_id
        if event.partial or self._is_known(event):
            return
        if event.message == END_OF_LOGS and event.level == "DEBUG":
            done = self._calls.get(request)
            if done is not None:
                done.set()
            return
        line = self.line_of(event, request)
        if line.message not in _SIGNS:
            for whole in self._tracebacks.take(line):
                self._logs.add(whole)
        if not is_echoed:
            return
        if self.follow is not None:
            self.follow(line)
        for name in (line.request_id or "", f"{line.account_id}\0{line.application}"):
            if name in self._echoes:
                self._echoes[name](line)

    def line_of(self, event: Log, request: str = "") -> LogLine:
        """Return an event as a line of the runner, and of *request* where there is one."""
        return LogLine(
            account_id=self.spec.owner,
            application=self.spec.application or self.spec.name,
            runner_id=self.runner_id,
            request_id=request or self.starting_request or None,
            # Clients know no higher level.
            level="ERROR" if event.level == "CRITICAL" else event.level,
            source=event.source,
            message=event.message,
            time=event.time or time.time(),
        )

    def _is_known(self, event: Log) -> bool:
        """
        Return whether an earlier server has stored a line: a runner that is found again
        repeats everything that it has ever printed, and then sends new lines.
        """
        if self.known_until and (
            to_micros(event.time or time.time()) > to_micros(self.known_until)
            or time.monotonic() - self._made > _RETOLD
        ):
            self.known_until = 0.0
        return bool(self.known_until)
