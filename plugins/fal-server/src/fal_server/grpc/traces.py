"""
Traces: the W3C trace context of a call, as environment variables for its function.

The names of the variables are those of OpenTelemetry.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from fal_server_agent.messages import TRACE_VARIABLES

_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)

#: Released clients send the ids of their span, as decimal numbers, under these keys.
_TRACE_ID, _PARENT_ID = "x-datadog-trace-id", "x-datadog-parent-id"

#: The longest value that is passed on, in characters.
_LONGEST = 8192


def trace_of(metadata: Mapping[str, str]) -> Mapping[str, str]:
    """
    Return the environment variables for the trace in *metadata*. Empty where there is no
    valid one.
    """
    if not _TRACEPARENT.fullmatch(metadata.get("traceparent", "")):
        numbers = metadata.get(_TRACE_ID, ""), metadata.get(_PARENT_ID, "")
        return _from_numbers(*numbers)
    return {
        name: metadata[name.lower()]
        for name in TRACE_VARIABLES
        if 0 < len(metadata.get(name.lower(), "")) <= _LONGEST
    }


def _from_numbers(trace: str, parent: str) -> Mapping[str, str]:
    if not all(
        each.isascii() and each.isdigit() and len(each) <= 20 for each in (trace, parent)
    ):
        return {}
    ids = int(trace) % 2**64, int(parent) % 2**64
    if not all(ids):
        return {}
    return {"TRACEPARENT": f"00-{ids[0]:032x}-{ids[1]:016x}-01"}
