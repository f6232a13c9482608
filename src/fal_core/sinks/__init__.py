"""Sinks: objects that take the events of one call, and the thread that delivers them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fal_core.exports import lazily

if TYPE_CHECKING:
    from fal_core.sinks.breaches import check_execution
    from fal_core.sinks.call_sinks import CallSink, HandlerFailed, failed, open_outcome
    from fal_core.sinks.dropped_lines import UnreadableRecord, skip_events
    from fal_core.sinks.event_thread import Timer, get_event_thread
    from fal_core.sinks.journals import Journal, JournalReader, read_journal
    from fal_core.sinks.printing import print_log
    from fal_core.sinks.records import decode_message, encode_message
    from fal_core.sinks.sinks_around import SinkAround

__all__ = [
    "CallSink",
    "HandlerFailed",
    "Journal",
    "JournalReader",
    "SinkAround",
    "Timer",
    "UnreadableRecord",
    "check_execution",
    "decode_message",
    "encode_message",
    "failed",
    "get_event_thread",
    "open_outcome",
    "print_log",
    "read_journal",
    "skip_events",
]

_exports = lazily(
    __name__,
    {
        "CallSink": "fal_core.sinks.call_sinks",
        "HandlerFailed": "fal_core.sinks.call_sinks",
        "Journal": "fal_core.sinks.journals",
        "JournalReader": "fal_core.sinks.journals",
        "SinkAround": "fal_core.sinks.sinks_around",
        "Timer": "fal_core.sinks.event_thread",
        "UnreadableRecord": "fal_core.sinks.dropped_lines",
        "check_execution": "fal_core.sinks.breaches",
        "decode_message": "fal_core.sinks.records",
        "encode_message": "fal_core.sinks.records",
        "failed": "fal_core.sinks.call_sinks",
        "get_event_thread": "fal_core.sinks.event_thread",
        "open_outcome": "fal_core.sinks.call_sinks",
        "print_log": "fal_core.sinks.printing",
        "read_journal": "fal_core.sinks.journals",
        "skip_events": "fal_core.sinks.dropped_lines",
    },
)

if not TYPE_CHECKING:
    # For type checkers, a name that is not there is an error.
    __getattr__, __dir__ = _exports
