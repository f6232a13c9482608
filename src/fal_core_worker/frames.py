"""
Frames: what the two ends of a worker's stream say to each other.

A stream begins with :data:`MAGIC`, from the worker; bytes before it are output
of whatever ran first. A frame is a header of 16 bytes, little endian, and its
payload::

    kind u8 · version u8 · reserved u16 · channel u32 · length u64

The header is frozen: a later version may add kinds, and change payloads.
The channel numbers the call that a frame belongs to; 0 is the worker itself.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

MAGIC = b"\x00fal-core-worker\x01\n"
HEADER = struct.Struct("<BBHIQ")
HEADER_SIZE = HEADER.size
VERSION = 1

# From the launching process.
SECRETS = 1
FUNCTION = 2
CALL = 3
CREDIT = 4
CANCEL = 5
HOME_RESULT = 6
DRAIN = 7
PING = 8
STOP = 9

# From the worker.
HELLO = 32
STARTED = 33
LOG = 34
ITEM = 35
RETURNED = 36
READY = 37
OUTCOME = 38
HOME_CALL = 39
PONG = 40
RELEASE = 41


class Frame(NamedTuple):
    """
    One frame, its channel aside.
    """

    kind: int
    payload: Any = b""
