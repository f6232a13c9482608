"""Records of functions, handed to the loggers of this process."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any

from fal_core.calls import Call
from fal_core.events import Log, Sink
from fal_core.hosts import Execution
from fal_core.sinks.sinks_around import SinkAround

#: Where a traceback begins in the text of a record.
_TRACEBACK = re.compile(
    r"^(?:  \+ Exception Group )?Traceback \(most recent call last\):$", re.MULTILINE
)


class RecordSink(SinkAround):
    """
    A sink that hands records to the logger of their name in this process, whose levels, filters
    and handlers decide what becomes of them.
    """

    def on_log(self, log: Log) -> None:
        if log.logger is None:
            self.sink(log)
        else:
            hand_over(log)


def hand_over(log: Log) -> None:
    """
    Hand a record to the logger of its name.

    Its traceback is the record's ``exc_text``, the id of its call is ``call_id``, and the node
    that it comes from ``rank``.
    """
    logger = logging.getLogger(log.logger)
    number = getattr(logging, log.level, logging.NOTSET)
    if logger.isEnabledFor(number):
        logger.handle(logging.makeLogRecord(_facts_of(log, number)))


def _facts_of(log: Log, number: int) -> dict[str, Any]:
    text, trace = log.message, None
    found = _TRACEBACK.search(text)
    if found is not None and found.start():
        text, trace = text[: found.start() - 1], text[found.start() :]
    return {
        "name": log.logger,
        "levelno": number,
        "levelname": log.level,
        "msg": text,
        "args": (),
        "exc_text": trace,
        "created": log.time,
        "msecs": log.time % 1 * 1000,
        "call_id": log.call_id,
        "request_id": log.request_id,
        "rank": log.rank,
    }


def launch_with_records(
    launch: Callable[[Call, Sink], Execution], call: Call, sink: Sink
) -> Execution:
    """Launch *call* with *launch*, and hand its records to the loggers of this process."""
    return launch(call, RecordSink(sink).for_host())
