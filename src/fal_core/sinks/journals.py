"""
Journals: the events of an execution, on disk, for whoever attaches later.

A journal is a file of records, each behind its length in four bytes, little
endian. A record is marshalled and holds the event's name and its fields.
"""

from __future__ import annotations

import marshal
import os
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import attrs

from fal_core import events
from fal_core.errors import HostError
from fal_core.events import Event, Sealed

_LENGTH = struct.Struct("<I")
_SEALED = 0
_ERROR = 1


def encode_event(event: Event) -> bytes:
    """
    Return *event* as bytes.
    """
    fields = attrs.fields(type(event))
    values = [_encode(getattr(event, field.name)) for field in fields]
    return marshal.dumps((type(event).__name__, values), 2)


def decode_event(data: bytes) -> Event:
    """
    Return the event that :func:`encode_event` made *data* of.
    """
    name, values = marshal.loads(data)
    event: Event = getattr(events, name)(*map(_decode, values))
    return event


class Journal:
    """
    A journal that is written.
    """

    def __init__(self, path: Path) -> None:
        self._file: IO[bytes] = open(path, "ab", buffering=0)  # noqa: SIM115  # until close
        self.count = 0

    def append(self, event: Event) -> bytes:
        """
        Write *event* and return its record.
        """
        data = encode_event(event)
        record = _LENGTH.pack(len(data)) + data
        self._file.write(record)
        self.count += 1
        return record

    def close(self) -> None:
        """
        Close the file.
        """
        self._file.close()


class Records:
    """
    Records that are read from a stream of bytes, in any pieces.
    """

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Event]:
        """
        Iterate over the events that *data* completes.
        """
        data = self._rest + data
        at = 0
        while len(data) - at >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(data, at)
            end = at + _LENGTH.size + size
            if end > len(data):
                break
            yield decode_event(data[at + _LENGTH.size : end])
            at = end
        self._rest = data[at:]


def read_journal(path: Path, after: int = 0) -> Iterator[Event]:
    """
    Iterate over the events of a journal, from number *after* on.

    A record that was cut short, as by a full disk, ends it.
    """
    records = Records()
    number = 0
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            for event in records.feed(chunk):
                if number >= after:
                    yield event
                number += 1


def _encode(value: Any) -> Any:
    if isinstance(value, Sealed):
        return (_SEALED, bytes(value.data), [bytes(buffer) for buffer in value.buffers])
    if isinstance(value, HostError):
        return (_ERROR, *_encode_error(value))
    return dict(value) if isinstance(value, os._Environ) else value


def _encode_error(error: HostError) -> tuple[str, str, tuple[Any, ...], str]:
    """
    Return the module and name of the error's class, its facts and its sentence.
    """
    kind = type(error)
    facts = error.args if all(map(_is_plain, error.args)) else ()
    return kind.__module__, kind.__qualname__, facts, str(error)


def _decode(value: Any) -> Any:
    if not isinstance(value, tuple) or not value:
        return value
    if value[0] == _SEALED:
        return Sealed(value[1], value[2])
    return _decode_error(*value[1:])


def _decode_error(module: str, name: str, facts: tuple[Any, ...], sentence: str) -> HostError:
    """
    Return the error itself where its class is loaded here, otherwise its sentence.

    A journal makes no process import anything.
    """
    kind = getattr(sys.modules.get(module), name, None)
    if isinstance(kind, type) and issubclass(kind, HostError):
        try:
            error = kind(*facts)
        except TypeError:
            return HostError(sentence)
        if str(error) == sentence:
            return error
    return HostError(sentence)


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    return value is None or type(value) in (int, float, str, bool)
