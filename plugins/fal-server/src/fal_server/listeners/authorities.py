"""
Authorities: what the requests of an HTTP/2 connection name the server that they were sent to.

gRPC does not tell its handlers the ``:authority`` of a call. It is read here from what the
client sends on its way to the gRPC server, and added to the header fields of its request, so
that the handler finds it in the metadata of the very call. Its key is a secret of this
process: no client can send metadata under it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import attrs
from hpack import Decoder, Encoder, HPACKError, NeverIndexedHeaderTuple
from hyperframe.exceptions import HyperframeError
from hyperframe.frame import ContinuationFrame, Frame, HeadersFrame

from fal_server.listeners.open_connections import OpenConnection
from fal_server.listeners.urls import read_host

#: The bytes of what a client begins with, and of the head of a frame.
_PREFACE, _HEAD = 24, 9

#: The types of the frames that have header fields.
_HEADERS, _CONTINUATION = HeadersFrame.type, ContinuationFrame.type

#: Where the flags of a frame are in its head, and the one of the last frame of a header block.
_FLAGS, _END_HEADERS = 4, 0x4

#: The most bytes of a header block and of its fields. gRPC takes less.
_LARGEST_BLOCK, _LARGEST_FIELDS = 1 << 15, 1 << 16

#: How many bytes of header blocks are read of a client that has shown no key, and for how many
#: of them each frame counts.
_OF_STRANGERS, _OF_A_FRAME = 1 << 16, 4

# They would write the keys of clients into the log, which each request has among its fields.
for _name in ("hpack.hpack", "hpack.table"):
    logging.getLogger(_name).setLevel(logging.WARNING)


class _Unreadable(Exception):
    """
    What a client sends is no HTTP/2, or more than is read of it.
    """


@attrs.define(eq=False)
class _Block:
    """
    A header block that has begun.

    Attributes:
        raw: Its frames.

        fields: What they have of its fields, which are compressed.

        last: Where the last one of the frames begins.
    """

    stream: int = 0
    raw: bytearray = attrs.field(factory=bytearray)
    fields: bytearray = attrs.field(factory=bytearray)
    last: int = 0


class AuthorityMarks:
    """
    Adds to each request of a connection what it names the server.

    A connection with something that cannot be read is passed on as it is from there on: the
    gRPC server decides what becomes of it.

    Arguments:
        key: The key in metadata, under which the name is added.

        visit: The connection. As long as its client has shown no key, little is read.
    """

    def __init__(self, key: str, visit: OpenConnection) -> None:
        self._key = key
        self._visit = visit
        self._decoder = Decoder(max_header_list_size=_LARGEST_FIELDS)
        self._skipped = _PREFACE
        self._held = bytearray()
        self._needed = 0
        self._block: _Block | None = None
        self._named = self._mark = b""
        self._left = _OF_STRANGERS
        self._is_blind = False

    def take(self, data: bytes) -> bytes:
        """
        Return what is to be passed on after *data* has come: all of it, but a frame with
        header fields that is not complete, or whose request has more of them to come.
        """
        if self._is_blind:
            return data
        if self._held:
            self._held += data
            if len(self._held) < self._needed:
                return b""
            data = bytes(self._held)
            self._held.clear()
        done: list[bytes] = []
        start = position = 0
        try:
            while position < len(data):
                if self._skipped:
                    step = min(self._skipped, len(data) - position)
                    self._skipped -= step
                    position += step
                    continue
                size = self._measure(data, position)
                if self._skipped:
                    continue
                if len(data) - position < size:
                    self._held += data[position:]
                    self._needed = size
                    break
                frame = data[position : position + size]
                done.append(data[start:position])
                start = position = position + size
                done.append(self._read(frame))
        except (_Unreadable, HPACKError, HyperframeError):
            self._is_blind = True
            begun, self._block = self._block, None
            return b"".join([*done, b"" if begun is None else begun.raw, data[start:]])
        return b"".join([*done, data[start:position]]) if done else data[:position]

    def _measure(self, data: bytes, position: int) -> int:
        """
        Return how many bytes a frame has that is read, or its head if that is not there yet.
        One that is not read is skipped.

        Raises:
            _Unreadable: It is too large to be read, or there were too many.
        """
        head = data[position : position + _HEAD]
        if len(head) < _HEAD:
            return _HEAD
        size = _HEAD + int.from_bytes(head[:3], "big")
        self._count(_OF_A_FRAME)
        if self._block is None and head[3] not in (_HEADERS, _CONTINUATION):
            self._skipped = size
        elif size + (0 if self._block is None else len(self._block.raw)) > _LARGEST_BLOCK:
            raise _Unreadable
        return size

    def _read(self, raw: bytes) -> bytes:
        """
        Read a frame with header fields, and return what is passed on of its block, which is
        nothing until that is complete.

        Raises:
            _Unreadable, HPACKError, HyperframeError: It cannot be read.
        """
        is_first = self._block is None
        block = self._block = self._block or _Block()
        block.last = len(block.raw)
        block.raw += raw
        self._count(len(raw))
        frame, _ = Frame.parse_frame_header(memoryview(raw[:_HEAD]))
        if not isinstance(frame, HeadersFrame if is_first else ContinuationFrame):
            raise _Unreadable
        if not is_first and frame.stream_id != block.stream:
            raise _Unreadable
        block.stream = frame.stream_id
        frame.parse_body(memoryview(raw[_HEAD:]))
        block.fields += frame.data
        if "END_HEADERS" not in frame.flags:
            return b""
        named = _find_name(self._decoder.decode(bytes(block.fields), raw=True))
        self._block = None
        if named != self._named:
            # Most connections are to one name.
            self._named, self._mark = named, self._make_mark(read_host(named.decode("latin-1")))
        if not self._mark:
            return bytes(block.raw)
        # One more frame has the mark alone.
        block.raw[block.last + _FLAGS] &= ~_END_HEADERS
        more = ContinuationFrame(block.stream, self._mark, flags=["END_HEADERS"])
        return bytes(block.raw) + more.serialize()

    def _make_mark(self, host: str) -> bytes:
        """
        Return the field that says what a request names the server. Empty for nothing.
        """
        if not host:
            return b""
        # A field that is never indexed changes nothing for the blocks that follow.
        field = NeverIndexedHeaderTuple(self._key.encode(), host.encode())
        return Encoder().encode([field], huffman=False)

    def _count(self, size: int) -> None:
        """
        Count what a client has sent that has shown no key.

        Raises:
            _Unreadable: It is too much.
        """
        if self._visit.is_known:
            return
        self._left -= size
        if self._left < 0:
            raise _Unreadable


def _find_name(fields: Iterable[Any]) -> bytes:
    """
    Return what the request with these header *fields* names the server. Empty where that is
    nothing, or more than one name.
    """
    named: dict[bytes, list[bytes]] = {b":authority": [], b"host": []}
    for name, value in fields:
        if name in named:
            named[name].append(value)
    found = named[b":authority"] or named[b"host"]
    return found[0] if len(found) == 1 else b""
