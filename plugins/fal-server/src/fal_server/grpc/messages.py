"""
Protocol messages for values that several methods return: times and log lines.
"""

from __future__ import annotations

import time
from typing import Any

from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp
from isolate_proto import HostedRunResult

from fal_core.events import Log
from fal_server.state.texts import valid_text
from fal_server.store.log_lines import LogLine

_Log: Any = GetMessageClass(HostedRunResult.DESCRIPTOR.fields_by_name["logs"].message_type)


def to_timestamp(seconds: float) -> Timestamp:
    """
    Return the message for *seconds* since the epoch.
    """
    timestamp = Timestamp()
    timestamp.FromMicroseconds(round(seconds * 1_000_000))
    return timestamp


def to_log(line: LogLine) -> Any:
    """
    Return the message for a log line.
    """
    return _Log(
        message=valid_text(line.message),
        source=_source(line.source),
        level=_level(line.level),
        timestamp=to_timestamp(line.time),
    )


def _source(name: str) -> int:
    return int(_Log.DESCRIPTOR.fields_by_name["source"].enum_type.values_by_name[name].number)


def _level(name: str) -> int:
    return int(_Log.DESCRIPTOR.fields_by_name["level"].enum_type.values_by_name[name].number)


def line_of(log: Log) -> LogLine:
    """
    Return a line of a builder as a log line.
    """
    return LogLine(
        account_id="",
        application="",
        runner_id="",
        level=log.level,
        source=log.source,
        message=log.message,
        time=log.time or time.time(),
    )
