"""Messages of the service, read as events of fal-core."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import urldefrag

from fal_core.events import Level, Log, Source
from fal_host_serverless.wire import settings

#: States in which a run, or a build, has ended.
SUCCEEDED, FAILED = 1, 2

_QUIET = ("TRACE", "DEBUG")


def read_logs(
    logs: Iterable[Any], read_line: Callable[[str, Level, float], Log | None] | None = None
) -> Iterator[Log]:
    """
    Yield the lines of a message.

    Arguments:
        read_line: Makes the line of what user code printed, from its text, level and time;
            None for a text that is no line by itself.
    """
    from fal_host_serverless.wire.protocol import isolate_proto

    for log in logs:
        level: Level = isolate_proto.LogLevel.Name(log.level)
        source: Source = isolate_proto.LogSource.Name(log.source)
        time = log.timestamp.seconds + log.timestamp.nanos / 1e9
        if source != "USER" or read_line is None:
            yield Log(log.message, level, source, time)
        elif (line := read_line(log.message, level, time)) is not None:
            yield line


def is_wanted(log: Log) -> bool:
    """Return whether people want to see a line, as they do not with the service's debug output."""
    return log.source == "USER" or log.level not in _QUIET or settings.is_set("DEBUG")


def wanted_logs(logs: Iterable[Any]) -> Iterator[Log]:
    """Yield those lines of a message that people want to see."""
    return filter(is_wanted, read_logs(logs))


def read_urls(urls: Any, *, has_page: bool) -> Mapping[str, str]:
    """
    Return the URLs of an application by their use, as in ``run``, ``queue`` or ``ws``.

    Arguments:
        has_page: Whether the application itself serves a playground. Otherwise a
            playground under the application's own URL is left out.
    """
    names = ("run", "queue", "ws", "playground", "log")
    found = {name: getattr(urls, name) for name in names if getattr(urls, name)}
    page, _ = urldefrag(found.get("playground", ""))
    if page.startswith(f"{urls.run}/") and not has_page:
        del found["playground"]
    elif page:
        found["playground"] = page
    return found
