"""
Limits: how much a server takes from those who talk to it.
"""

from __future__ import annotations

from typing import Any, Literal

import attrs

#: What a limit is counted in: bytes, things, or seconds.
Unit = Literal["size", "number", "seconds"]


def _limit(default: float, unit: Unit, text: str) -> Any:
    return attrs.field(default=default, metadata={"unit": unit, "text": text})


@attrs.frozen(kw_only=True)
class Limits:
    """
    How much a server takes from those who talk to it.

    Each is an option of ``fal-core server start``, with its name and dashes: limits are
    declared here alone.
    """

    largest_message: int = _limit(512 << 20, "size", "The largest gRPC message that is read.")
    most_calls: int = _limit(10_000, "number", "How many gRPC calls run at once.")
    longest_head: float = _limit(20.0, "seconds", "How long the head of a request may take.")
    longest_stall: float = _limit(
        20.0, "seconds", "How long a client may take to send, or to read, 16K of a body."
    )
    longest_idle: float = _limit(
        300.0, "seconds", "How long a connection without a key may have no request."
    )
    most_connections: int = _limit(10_000, "number", "How many connections are open at once.")
    most_connections_of_address: int = _limit(
        1_000, "number", "How many of them come from one address."
    )


def option_of(limit: str) -> str:
    """
    Return the command-line option of a limit, by its name in :class:`Limits`.
    """
    return "--" + limit.replace("_", "-")


def write_default(field: attrs.Attribute[Any]) -> str:
    """
    Return the default of a limit as a user writes it, as in ``512M``.
    """
    value = field.default
    assert isinstance(value, (int, float))
    if field.metadata["unit"] != "size":
        return f"{value:g}" if isinstance(value, float) else str(value)
    for power, letter in ((30, "G"), (20, "M"), (10, "K")):
        if value and not value % (1 << power):
            return f"{int(value) >> power}{letter}"
    return str(value)
