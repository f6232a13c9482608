"""Protocol messages: checks of those that come, and values that several methods return."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp
from isolate_proto import HostedRunResult
from isolate_proto.controller_pb2 import DESCRIPTOR

from fal_core.events import Log
from fal_server.errors import Invalid
from fal_server.logs.log_lines import LogLine
from fal_server.state.texts import valid_text

_Log: Any = GetMessageClass(HostedRunResult.DESCRIPTOR.fields_by_name["logs"].message_type)


def check_choices(message: Message) -> None:
    """
    Check the fields of *message*, and of the messages in it, that name one of a few choices.

    Raises:
        Invalid: One has a number that stands for none of them.
    """
    for field, value in message.ListFields():
        if field.enum_type is not None:
            known = field.enum_type.values_by_number
            for number in value if isinstance(value, Sequence) else (value,):
                if number not in known:
                    names = ", ".join(each.name for each in field.enum_type.values)
                    raise Invalid(
                        f"{field.full_name} is {number}, which stands for nothing here. "
                        f"It may be one of: {names}."
                    )
        elif field.message_type is not None and field.message_type.file is DESCRIPTOR:
            for each in value if isinstance(value, Sequence) else (value,):
                check_choices(each)


def to_timestamp(seconds: float) -> Timestamp:
    """Return the message for *seconds* since the epoch."""
    timestamp = Timestamp()
    timestamp.FromMicroseconds(round(seconds * 1_000_000))
    return timestamp


def to_log(line: LogLine) -> Any:
    """Return the message for a log line."""
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
    """Return a line of a builder as a log line."""
    return LogLine(
        account_id="",
        application="",
        runner_id="",
        level=log.level,
        source=log.source,
        message=log.message,
        time=log.time or time.time(),
    )
