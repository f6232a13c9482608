"""
Messages: what the service says of a run, as events.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from fal_core.calls import Call
from fal_core.events import Level, Log, Source
from fal_host_serverless import settings
from fal_host_serverless.arrival import MARK

#: The states of a run.
IN_PROGRESS, SUCCEEDED, FAILED = 0, 1, 2

_QUIET = ("TRACE", "DEBUG")


class Lines:
    """
    Whose the lines of each standard stream are, as lines among them say.
    """

    def __init__(self, call: Call) -> None:
        self._call = call
        self._owners: dict[str, str] = {}

    def is_mark(self, level: str, line: str) -> bool:
        """
        Take *line* if it says whose the following ones are.
        """
        if not line.startswith(MARK):
            return False
        self._owners[level] = line.removeprefix(MARK)
        return True

    def owner(self, level: str) -> tuple[str, str | None]:
        """
        Return the ids of the call, and of the request, of a line.
        """
        kind, _, identity = self._owners.get(level, "").partition(" ")
        if kind == "item":
            return f"{self._call.id}/{identity}", None
        return self._call.id, identity if kind == "request" else None


def read_logs(logs: Iterable[Any], lines: Lines | None = None) -> Iterator[Log]:
    """
    Yield the lines, without those that say whose others are.

    Arguments:
        lines: Knows whose they are; None where they are nobody's.
    """
    import isolate_proto

    for log in logs:
        level: Level = isolate_proto.LogLevel.Name(log.level)  # type: ignore[assignment]
        source: Source = isolate_proto.LogSource.Name(log.source)  # type: ignore[assignment]
        time = log.timestamp.seconds + log.timestamp.nanos / 1e9
        if source != "USER":
            yield Log(log.message, level, source, time)
            continue
        if lines is not None and lines.is_mark(level, log.message):
            continue
        owner, request = (None, None) if lines is None else lines.owner(level)
        yield Log(log.message, level, source, time, owner, request)


def read_urls(urls: Any) -> Mapping[str, str]:
    """
    Return where an application is reached, by what it is for.
    """
    names = ("run", "queue", "ws", "playground", "log")
    return {name: getattr(urls, name) for name in names if getattr(urls, name)}


def is_wanted(log: Log) -> bool:
    """
    Tell whether people want to see a line; what the service tells itself they do not.
    """
    return log.source == "USER" or log.level not in _QUIET or settings.is_set("DEBUG")
