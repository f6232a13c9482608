"""Messages between the control plane and an agent: a JSON header, followed by bytes."""

from __future__ import annotations

import json
import struct
from typing import Any

#: The length of the header, in front of it.
_LENGTH = struct.Struct("<I")

#: The HTTP header with the token of the control plane.
TOKEN_HEADER = "x-fal-agent-token"

#: The line that an agent logs after everything that a call has printed.
END_OF_LOGS = "\x00end of logs"

#: The environment variables in which a function finds the trace of its call.
TRACE_VARIABLES = ("TRACEPARENT", "TRACESTATE", "BAGGAGE")


class UnreadableMessage(ValueError):
    """The other end has sent what is no message. The argument says what is wrong."""


def pack(header: dict[str, Any], *parts: bytes) -> bytes:
    """Return *header* and *parts* as one message."""
    text = json.dumps({**header, "sizes": [len(part) for part in parts]}).encode()
    return b"".join((_LENGTH.pack(len(text)), text, *parts))


def unpack(message: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """
    Return the header and the parts of *message*.

    Raises:
        UnreadableMessage: It is none.
    """
    try:
        (length,) = _LENGTH.unpack_from(message)
        at = _LENGTH.size + length
        header = json.loads(message[_LENGTH.size : at])
        sizes = header.pop("sizes")
        parts = []
        for size in sizes:
            if type(size) is not int or size < 0:
                raise UnreadableMessage("a part has no size")
            parts.append(message[at : at + size])
            at += size
    except (AttributeError, LookupError, RecursionError, TypeError, struct.error) as error:
        raise UnreadableMessage("it has no header") from error
    except UnreadableMessage:
        raise
    except ValueError as error:
        raise UnreadableMessage("its header is not JSON") from error
    if at != len(message):
        raise UnreadableMessage(f"it has {len(message)} bytes, and tells of {at}")
    return header, parts
