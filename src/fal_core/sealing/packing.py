"""Sealed functions as what a worker is sent."""

from __future__ import annotations

from fal_core.calls import SealedFunction

PackedFunction = tuple[str, bytes, bytes | None, str]


def pack_function(function: SealedFunction) -> PackedFunction:
    """Return the fields of *function* in the order in which a worker takes them."""
    portable = None if function.portable is None else function.portable.data
    return function.digest, function.native.data, portable, function.refusal
