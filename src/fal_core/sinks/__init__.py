"""Sinks: objects that take the events of one call, and the thread that delivers them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fal_core.exports import lazily

if TYPE_CHECKING:
    from fal_core.sinks.breaches import check_execution as check_execution
    from fal_core.sinks.call_sinks import CallSink as CallSink
    from fal_core.sinks.call_sinks import failed as failed
    from fal_core.sinks.call_sinks import open_outcome as open_outcome
    from fal_core.sinks.dropped_lines import UnreadableRecord as UnreadableRecord
    from fal_core.sinks.dropped_lines import skip_events as skip_events
    from fal_core.sinks.event_thread import Timer as Timer
    from fal_core.sinks.event_thread import get_event_thread as get_event_thread
    from fal_core.sinks.journals import Journal as Journal
    from fal_core.sinks.journals import JournalReader as JournalReader
    from fal_core.sinks.journals import read_journal as read_journal
    from fal_core.sinks.printing import print_log as print_log
    from fal_core.sinks.records import decode_message as decode_message
    from fal_core.sinks.records import encode_message as encode_message
    from fal_core.sinks.sinks_around import SinkAround as SinkAround
else:
    # For type checkers, a name that is not there is an error.
    __getattr__, __dir__, __all__ = lazily(
        __name__,
        {
            "fal_core.sinks.breaches": "check_execution",
            "fal_core.sinks.call_sinks": "CallSink failed open_outcome",
            "fal_core.sinks.dropped_lines": "UnreadableRecord skip_events",
            "fal_core.sinks.event_thread": "Timer get_event_thread",
            "fal_core.sinks.journals": "Journal JournalReader read_journal",
            "fal_core.sinks.printing": "print_log",
            "fal_core.sinks.records": "decode_message encode_message",
            "fal_core.sinks.sinks_around": "SinkAround",
        },
    )
