"""
Meters of HTTP/2 connections: how many frames a client may send, and how large they may be.

The bytes are looked at before the library that parses them is given any: a flood costs little,
and nothing of it is kept.
"""

from __future__ import annotations

import time

from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    GoAwayFrame,
    HeadersFrame,
    WindowUpdateFrame,
)

from fal_server.listeners.open_connections import OpenConnection

#: The bytes of what a client begins with, and of the head of a frame.
_PREFACE, _FRAME_HEAD = 24, 9

#: The largest frame, which is the size that clients are told, and the most bytes of the header
#: fields of a request. gRPC sends less.
_LARGEST_FRAME, _LARGEST_BLOCK = 1 << 14, 1 << 15

_DATA, _HEADERS = DataFrame.type, HeadersFrame.type
_CONTINUATION, _WINDOW_UPDATE = ContinuationFrame.type, WindowUpdateFrame.type
_GOAWAY = GoAwayFrame.type

#: Flags of frames: the last of a stream, and the last of a block of header fields.
_END_STREAM, _END_HEADERS = 0x1, 0x4

#: Seconds for which frames are counted.
_INTERVAL = 10.0

#: How many frames a client without a key may send in that time, and how many one with a key
#: that bring no call on.
_OF_STRANGERS, _IDLE = 500, 10_000


class TooMuch(Exception):
    """A client sends more than is read of it."""


class Http2Meter:
    """
    Counts the frames of one connection.

    Arguments:
        visit: The connection. As long as its client has shown no key, each frame counts;
            afterwards those that bring no call on, such as pings, settings and resets.

    Attributes:
        has_left: Whether the client has said that it begins no more calls.
    """

    __slots__ = (
        "_block",
        "_count",
        "_drops",
        "_head",
        "_skipped",
        "_until",
        "_visit",
        "has_left",
    )

    def __init__(self, visit: OpenConnection) -> None:
        self._visit = visit
        self.has_left = False
        #: How many bytes come before the next frame, and whether they are dropped.
        self._skipped, self._drops = _PREFACE, False
        #: What has come of the head of a frame.
        self._head = b""
        #: The bytes of the present block of header fields. None where there is none.
        self._block: int | None = None
        self._count = 0
        self._until = 0.0

    def take(self, data: bytes) -> bytes:
        """
        Count what is in *data*, and return what is to be parsed of it.

        That is all but the frames by which a client leaves, for which h2 would end the calls
        that run (RFC 9113, 6.8: they go on), and the beginning of a head, which comes with the
        rest of it.

        Raises:
            TooMuch: The client has sent more than it may.
        """
        data = self._head + data
        self._head = b""
        at, start, end = 0, 0, len(data)
        kept = []
        while at < end:
            if self._skipped:
                step = min(self._skipped, end - at)
                self._skipped -= step
                at += step
                if self._drops:
                    start = at
                continue
            if end - at < _FRAME_HEAD:
                self._head, end = data[at:], at
                break
            head = data[at : at + _FRAME_HEAD]
            self._skipped = self._begin_frame(head)
            self._drops = head[3] == _GOAWAY
            if self._drops:
                self.has_left = True
                kept.append(data[start:at])
                start = at + _FRAME_HEAD
            at += _FRAME_HEAD
        kept.append(data[start:end])
        return b"".join(kept) if len(kept) > 1 else kept[0]

    def _begin_frame(self, head: bytes) -> int:
        """Count a frame, and return the size of its body."""
        size, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
        if size > _LARGEST_FRAME:
            raise TooMuch
        if kind in (_HEADERS, _CONTINUATION):
            block = (self._block or 0) + size
            if block > _LARGEST_BLOCK:
                raise TooMuch
            self._block = None if flags & _END_HEADERS else block
        is_known = self._visit.is_known
        if not is_known or not _brings_on(kind, flags, size):
            self._count_frame(_IDLE if is_known else _OF_STRANGERS)
        return size

    def _count_frame(self, most: int) -> None:
        self._count += 1
        if self._count > most:
            now = time.monotonic()
            if now < self._until:
                raise TooMuch
            self._until, self._count = now + _INTERVAL, 1
        elif not self._until:
            self._until = time.monotonic() + _INTERVAL


def _brings_on(kind: int, flags: int, size: int) -> bool:
    if kind == _DATA:
        return bool(size or flags & _END_STREAM)
    return kind in (_HEADERS, _WINDOW_UPDATE)
