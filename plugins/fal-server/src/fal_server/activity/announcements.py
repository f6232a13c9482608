"""Announcements: a line for each deployment, and for each runner that starts, ends or fails."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import IO, Any

import click

#: What announcements go to. Its records have a mapping ``facts``.
logger = logging.getLogger("fal_server.activity")

#: The most announcements that wait for a reader; others are dropped.
_MOST = 10_000

#: Seconds that they have to be written when the server ends.
_PATIENCE = 2.0

#: Characters with which a terminal does something else than to show them.
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")

_COLOURS = {
    "deployed": "green",
    "runner-started": "cyan",
    "runner-ended": "bright_black",
    "superseded": "yellow",
}


def announce(event: str, sentence: str, *, failed: bool = False, **facts: Any) -> None:
    """
    Tell of something that happened.

    Arguments:
        event: What that is, in a word that programs know.

        sentence: The same for people. They are told of what the *facts* name before it.

        facts: What it happened to, as JSON values.
    """
    level = logging.ERROR if failed else logging.INFO
    if logger.isEnabledFor(level):
        logger.log(level, "%s", sentence, extra={"facts": {"event": event, **facts}})


def escape_controls(text: str) -> str:
    """
    Return *text* for a terminal: control characters and line breaks, with which a name or a
    message could pass for something else there, are escaped.
    """
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


@contextlib.contextmanager
def announcing(stream: IO[str] | None = None, *, is_quiet: bool) -> Iterator[None]:
    """
    Write announcements as lines: with colours on a terminal, as JSON elsewhere.

    Arguments:
        stream: Where to. None for standard error.

        is_quiet: Whether to write failures alone.
    """
    stream = stream or sys.stderr
    shows_colours = stream.isatty() and not os.environ.get("NO_COLOR")
    writer = _Writer(stream, _format_line if stream.isatty() else _format_json)
    writer.shows_colours = shows_colours
    before = logger.propagate, logger.level
    logger.propagate = False
    logger.setLevel(logging.ERROR if is_quiet else logging.INFO)
    logger.addHandler(writer)
    try:
        yield
    finally:
        logger.removeHandler(writer)
        logger.propagate, logger.level = before
        writer.close()


class _Writer(logging.Handler):
    """Writes records in a thread: nobody may read the stream, and the server goes on."""

    def __init__(
        self, stream: IO[str], write: Callable[[logging.LogRecord, bool], str]
    ) -> None:
        super().__init__()
        self.shows_colours = False
        self._stream = stream
        self._write = write
        self._waiting: queue.Queue[logging.LogRecord | None] = queue.Queue(_MOST)
        self._thread = threading.Thread(target=self._work, name="activity", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Let a record be written, unless too many wait."""
        with contextlib.suppress(queue.Full):
            self._waiting.put_nowait(record)

    def close(self) -> None:
        """Wait a moment until what waits is written."""
        with contextlib.suppress(queue.Full, queue.Empty):
            if self._waiting.full():
                self._waiting.get_nowait()
            self._waiting.put_nowait(None)
        self._thread.join(_PATIENCE)
        super().close()

    def _work(self) -> None:
        while (record := self._waiting.get()) is not None:
            try:
                self._stream.write(self._write(record, self.shows_colours) + "\n")
                self._stream.flush()
            except (OSError, ValueError):
                # Nobody reads it any longer.
                return


def _format_line(record: logging.LogRecord, shows_colours: bool) -> str:
    facts = _facts_of(record)
    moment = time.strftime("%H:%M:%S", time.localtime(record.created))
    text = escape_controls(f"{facts.get('application', '')}: {record.getMessage()}")
    if not shows_colours:
        return f"{moment} {text}"
    failed = record.levelno >= logging.ERROR
    colour = "red" if failed else _COLOURS.get(str(facts.get("event")))
    return (
        f"{click.style(moment, dim=True)} {click.style(text, fg=colour, bold=failed or None)}"
    )


def _format_json(record: logging.LogRecord, _: bool) -> str:
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    described = {
        "time": f"{moment}.{int(record.msecs):03}Z",
        "level": record.levelname.lower(),
        **_facts_of(record),
        "message": record.getMessage(),
    }
    return json.dumps(described, ensure_ascii=False, default=str)


def _facts_of(record: logging.LogRecord) -> dict[str, Any]:
    return dict(getattr(record, "facts", {}))
