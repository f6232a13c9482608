"""
Messages: what the service says of a run, as events.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import urldefrag

from fal_core.calls import Call
from fal_core.events import Level, Log, Source
from fal_core_worker.stream.frames import LEVELS
from fal_host_serverless import settings
from fal_host_serverless.printing import MARK

#: States in which a run, or a build, has ended.
SUCCEEDED, FAILED = 1, 2

_QUIET = ("TRACE", "DEBUG")


class Lines:
    """
    Reads the lines of a call, some of which say what they are.

    Attributes:
        guessed: Whether the service guesses the levels of the others.
    """

    def __init__(self, call: Call) -> None:
        self._call = call
        self._parts: dict[str, str] = {}
        #: What the call has begun with: ``o`` is opening it, ``s`` running it.
        self.begun = ""
        self.guessed = True

    def read(self, line: str, level: Level, time: float) -> Log | None:
        """
        Return the line as it was printed; None for a part of one.
        """
        text, mark, rest = line.rpartition(MARK)
        number, _, rest = rest.partition(":")
        flags, separator, owner = rest.partition(":")
        if not (mark and separator and number.isdigit() and int(number) < len(LEVELS)):
            # What guesses levels has one for what it cannot guess.
            level = "STDOUT" if level == "INFO" and self.guessed else level
            return Log(line, level, "USER", time, self._call.id)
        if flags in ("o", "s") and not text:
            self.begun = flags
            return None
        if "e" in flags:
            text = self._parts.pop(owner, "") + json.loads(text)
        if "+" in flags:
            self._parts[owner] = text
            return None
        kind, _, identity = owner.partition(" ")
        known: Level = LEVELS[int(number)]  # type: ignore[assignment]  # Each is one.
        request = identity if kind == "request" else None
        return Log(text, known, "USER", time, self._call.id, request)


def read_logs(logs: Iterable[Any], lines: Lines | None = None) -> Iterator[Log]:
    """
    Yield the lines, without those that say whose others are.

    Arguments:
        lines: Knows whose they are; None where they are nobody's.
    """
    import isolate_proto

    for log in logs:
        level: Level = isolate_proto.LogLevel.Name(log.level)
        source: Source = isolate_proto.LogSource.Name(log.source)
        time = log.timestamp.seconds + log.timestamp.nanos / 1e9
        if source != "USER" or lines is None:
            yield Log(log.message, level, source, time)
        elif (read := lines.read(log.message, level, time)) is not None:
            yield read


def read_urls(urls: Any, *, has_page: bool) -> Mapping[str, str]:
    """
    Return where an application is reached, by what it is for.

    Arguments:
        has_page: Whether the application itself has a page on which it is tried.
    """
    names = ("run", "queue", "ws", "playground", "log")
    found = {name: getattr(urls, name) for name in names if getattr(urls, name)}
    page, _ = urldefrag(found.get("playground", ""))
    if page.startswith(f"{urls.run}/") and not has_page:
        del found["playground"]
    elif page:
        found["playground"] = page
    return found


def is_wanted(log: Log) -> bool:
    """
    Tell whether people want to see a line; what the service tells itself they do not.
    """
    return log.source == "USER" or log.level not in _QUIET or settings.is_set("DEBUG")
