"""
Tracebacks: the lines of one, stored as one line of the log, whoever has printed them.

Applications of fal print an error as a record in JSON, and others its traceback by lines.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import attrs

from fal_server.logs.log_lines import TRACEBACK, LogLine

#: The most lines and characters that wait for the end of a traceback, and the most outputs
#: that may be in one at once.
_MOST_LINES, _MOST_CHARACTERS, _MOST = 1000, 1 << 18, 64


@attrs.define
class _Held:
    """
    The lines of a traceback whose end has not come.
    """

    first: LogLine
    messages: list[str]
    size: int


@attrs.define(eq=False)
class Tracebacks:
    """
    Puts the lines of each traceback together.
    """

    _held: dict[tuple[str | None, str], _Held] = attrs.field(factory=dict)

    def take(self, line: LogLine) -> Sequence[LogLine]:
        """
        Return the lines that are complete with *line*.
        """
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
        """
        Yield what waits for lines that do not come.
        """
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
    """
    Return the traceback in a record in JSON. Empty where there is none.
    """
    if TRACEBACK not in message:
        return ""
    try:
        facts = json.loads(message)
    except (ValueError, RecursionError):
        return ""
    traceback = facts.get("traceback") if isinstance(facts, dict) else None
    return traceback.strip() if isinstance(traceback, str) else ""
