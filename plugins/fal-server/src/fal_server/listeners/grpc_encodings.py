"""Encodings of gRPC: how messages, metadata and the ends of calls are written in HTTP/2."""

from __future__ import annotations

import base64
import binascii
import struct
import zlib
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias
from urllib.parse import quote

import grpc
from hpack import NeverIndexedHeaderTuple

#: Metadata as gRPC has it: the values of keys that end with ``-bin`` are bytes.
Metadata: TypeAlias = Sequence[tuple[str, Any]]

#: A header field, as text.
Field: TypeAlias = tuple[str, str] | NeverIndexedHeaderTuple

#: What each message begins with: whether it is compressed, and its size.
PREFIX = struct.Struct("!BL")

#: How zlib writes the encodings of messages.
_ENCODINGS = {"gzip": 31, "deflate": 15}

#: How many compressed bytes are read, and decompressed ones written, in one step.
_STEP = 1 << 16

#: Messages of so many compressed bytes are decompressed in the event loop: by zlib they become
#: a megabyte at most, which takes a few milliseconds.
SMALL = 1 << 10

#: The characters of a sentence that are sent as they are.
_PLAIN = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")

#: Header fields that are of HTTP, and no metadata.
_OF_HTTP = frozenset({"te", "content-type", "content-length", "host"})

CONTENT_TYPE = "application/grpc"


class CallFailed(Exception):
    """
    A call ends with another status than OK.

    Arguments:
        metadata: What the client gets besides.
    """

    def __init__(self, status: grpc.StatusCode, sentence: str, metadata: Metadata = ()) -> None:
        super().__init__(sentence)
        self.status = status
        self.metadata = metadata


def refuse_large(size: int | str, largest: int) -> CallFailed:
    """Return what ends a call with a message of *size* bytes, where it may have *largest*."""
    return CallFailed(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        f"A message may have {largest} bytes at most, and has {size}.",
    )


def inflate(content: bytes, encoding: str, largest: int) -> bytes:
    """
    Decompress a message.

    Raises:
        CallFailed: It cannot be decompressed, or is larger than *largest*.
    """
    if encoding not in _ENCODINGS:
        raise CallFailed(
            grpc.StatusCode.UNIMPLEMENTED,
            f"Messages compressed by {encoding!r} are not read.",
        )
    try:
        return b"".join(_inflate_parts(content, _ENCODINGS[encoding], largest))
    except zlib.error:
        raise CallFailed(
            grpc.StatusCode.INTERNAL, "A compressed message cannot be read."
        ) from None


def _inflate_parts(content: bytes, encoding: int, largest: int) -> Iterable[bytes]:
    """
    Yield the parts of a compressed message.

    Raises:
        CallFailed: It is larger than *largest*.

        zlib.error: It cannot be decompressed, or is not complete.
    """
    unpacking, size = zlib.decompressobj(encoding), 0
    for at in range(0, len(content), _STEP):
        left = content[at : at + _STEP]
        while left and not unpacking.eof:
            part = unpacking.decompress(left, _STEP)
            left = unpacking.unconsumed_tail
            size += len(part)
            if size > largest:
                raise refuse_large("more", largest)
            yield part
    while part := unpacking.decompress(b"", _STEP):
        size += len(part)
        if size > largest:
            raise refuse_large("more", largest)
        yield part
    if not unpacking.eof:
        raise zlib.error


def greeting_fields(metadata: Metadata) -> list[Field]:
    """Return the header fields that begin an answer."""
    fields = [(":status", "200"), ("content-type", CONTENT_TYPE)]
    encodings = ", ".join(["identity", *_ENCODINGS])
    return [*fields, ("grpc-accept-encoding", encodings), *write_fields(metadata)]


def read_metadata(fields: Iterable[tuple[str, str]]) -> Iterable[tuple[str, Any]]:
    """Yield the metadata among the header fields of a call."""
    for name, value in fields:
        if name.startswith((":", "grpc-")) or name in _OF_HTTP:
            continue
        if not name.endswith("-bin"):
            yield name, value
            continue
        for each in value.split(","):
            padding = "=" * (-len(each) % 4)
            try:
                yield name, base64.b64decode(each + padding, validate=True)
            except (binascii.Error, ValueError):
                # No client of gRPC has sent it.
                continue


def write_fields(metadata: Metadata) -> Iterable[Field]:
    """
    Return the header fields of *metadata*. None of them is kept in the table by which fields
    are compressed, whose size the client chooses.
    """
    for key, value in metadata:
        is_text = isinstance(value, str)
        text = value if is_text else base64.b64encode(value).decode().rstrip("=")
        yield NeverIndexedHeaderTuple(key, text)


def ending_fields(
    status: grpc.StatusCode, sentence: str, metadata: Metadata
) -> Iterable[Field]:
    """Yield the header fields that end a call."""
    code: int = status.value[0]
    yield "grpc-status", str(code)
    told = [("grpc-message", quote(sentence, safe=_PLAIN))] if sentence else []
    yield from write_fields([*told, *metadata])
