"""
Journals: the events of an execution in a file, for processes that attach later.

A journal is a sequence of records, each of which begins with two lengths in four bytes, little
endian: that of the record and that of its text. The text is JSON, with the name and the fields
of an event. Long texts, and values that functions have made, follow it as bytes.

Whoever runs a function may be able to write to its journal. So what is read is an event with
fields of the right types, or an error, and takes no more memory than its bytes.
"""

from __future__ import annotations

import json
import os
import struct
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, get_args

import attrs

from fal_core.errors import HostError
from fal_core.events import (
    Event,
    Exited,
    HomeCall,
    Item,
    Level,
    Log,
    Outcome,
    Phase,
    Ready,
    Returned,
    Sealed,
    Source,
    Started,
    State,
)
from fal_core.sinks.dropped_lines import (
    UnreadableRecord,
    count_events,
    drop_lines,
    read_dropped,
)
from fal_core_worker.opening.seals import PREFIX_SIZE

#: The length of a record, without this one, and that of its text.
_LENGTHS = struct.Struct("<II")
_TEXT_LENGTH = struct.Struct("<I")
#: The longest text of a record, in bytes: what JSON is read into is many times as large.
_LONGEST_TEXT = 1 << 20
#: Characters of a text that stands in the JSON; a longer one follows it.
_SHORT = 1000
#: The largest number of an event.
_MOST = 1 << 53
#: The types of fields that are JSON as they are, beside texts.
_PLAIN = frozenset((type(None), bool, int, float))
#: Returns the value that a text begins with, and where that ends. 'json.loads' takes three
#: times as long, as it looks for an encoding and for spaces around the value.
_parse_json = json.JSONDecoder().raw_decode


def encode_event(event: Event) -> bytes:
    """
    Return *event* as bytes.
    """
    blobs: list[bytes] = []
    values = []
    for field in attrs.fields(type(event)):
        value = getattr(event, field.name)
        values.append(value if type(value) in _PLAIN else _encode(value, blobs))
    text = json.dumps([type(event).__name__, values, [*map(len, blobs)]]).encode()
    return b"".join((_TEXT_LENGTH.pack(len(text)), text, *blobs))


def decode_event(data: bytes) -> Event:
    """
    Return the event that *data*, made by :func:`encode_event`, holds.

    Raises:
        UnreadableRecord: It holds none.
    """
    try:
        at = _TEXT_LENGTH.size + _TEXT_LENGTH.unpack_from(data)[0]
        text = data[_TEXT_LENGTH.size : at].decode()
        (name, values, sizes), end = _parse_json(text)
        if end != len(text):
            raise UnreadableRecord("a record has more text than its JSON")
        blobs: list[bytes] = []
        for size in sizes:
            blobs.append(data[at : at + _number(size, blobs)])
            at += size
        if at != len(data):
            raise UnreadableRecord("a record has another length than its text says")
        event, readers = _EVENTS[name]
        if len(values) > len(readers):
            raise UnreadableRecord("a record has more fields than its event")
        read_values = [read(value, blobs) for read, value in zip(readers, values, strict=False)]
        return event(*read_values)
    except UnreadableRecord:
        raise
    except (LookupError, RecursionError, TypeError, ValueError, struct.error) as error:
        raise UnreadableRecord(f"a record is no event: {type(error).__name__}") from error


class Journal:
    """
    Writes a journal.

    Arguments:
        kept: The bytes of the lines that are kept; the oldest make room. None for all.

    Attributes:
        count: How many events it has.

        replaced_at: How many events it had whenever the file was replaced by one with fewer
            lines.
    """

    def __init__(self, path: Path, kept: int | None = None) -> None:
        self._path = path
        self._file: IO[bytes] = open(path, "ab", buffering=0)  # noqa: SIM115  # until close
        self._kept = self._limit = kept or sys.maxsize
        self._lines = 0
        self.count = 0
        self.replaced_at: list[int] = []

    def append(self, *events: Event) -> bytes:
        """
        Write *events* and return their records.

        Raises:
            OSError: They cannot be written. The journal has none of them then.
        """
        records = []
        lines = 0
        for event in events:
            data = encode_event(event)
            records.append(_TEXT_LENGTH.pack(len(data)) + data)
            if isinstance(event, Log):
                lines += len(records[-1])
        written = b"".join(records)
        self._write(written)
        self._lines += lines
        self.count += len(events)
        if self._lines > self._limit:
            self._drop_lines()
        return written

    def _write(self, data: bytes) -> None:
        """
        Write all of *data*, or nothing: what follows half of a record cannot be read.
        """
        done = 0
        try:
            while done < len(data):
                done += self._file.write(memoryview(data)[done:])
        except OSError:
            if done:
                # There is no room for the rest, as on a full disk.
                size = os.fstat(self._file.fileno()).st_size
                os.ftruncate(self._file.fileno(), size - done)
            raise

    def _drop_lines(self) -> None:
        """
        Make room for as many lines as it has now, in half of what it may have.
        """
        try:
            self._lines -= drop_lines(self._path, self._lines - self._kept // 2)
        except (OSError, UnreadableRecord):
            # It is tried again when there are more lines. Whoever reads what a function has
            # overwritten is told so.
            self._limit += self._kept
            return
        self._file.close()
        self._file = open(self._path, "ab", buffering=0)  # noqa: SIM115  # until close
        # Of a file that a function has overwritten, less is dropped than is asked for.
        self._limit = max(self._kept, self._lines + self._kept // 2)
        self.replaced_at.append(self.count)

    def close(self) -> None:
        """
        Close the file.
        """
        self._file.close()


class JournalReader:
    """
    Reads the events of a journal from its bytes, which come in pieces of any size.

    Arguments:
        largest: The largest record that is read, in bytes.

    Attributes:
        number: How many events it has read, those included that a line stands for which says
            that they were dropped.
    """

    def __init__(self, largest: int = sys.maxsize) -> None:
        self.number = 0
        self._largest = largest
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[Event]:
        """
        Iterate over the events that *data* completes.

        Raises:
            UnreadableRecord: It holds something else.
        """
        rest = self._rest
        rest += data
        at = 0
        try:
            while len(rest) - at >= _LENGTHS.size:
                size, text = _LENGTHS.unpack_from(rest, at)
                if size > self._largest:
                    raise UnreadableRecord(
                        f"a record announces {size} bytes, of at most {self._largest}"
                    )
                if text > min(size - _TEXT_LENGTH.size, _LONGEST_TEXT):
                    raise UnreadableRecord(f"a record of {size} bytes has {text} of text")
                end = at + _TEXT_LENGTH.size + size
                if end > len(rest):
                    break
                record = bytes(memoryview(rest)[at + _TEXT_LENGTH.size : end])
                at = end
                event = decode_event(record)
                self.number += count_events(record)
                yield event
        finally:
            del rest[:at]


def read_journal(path: Path, after: int = 0, largest: int = sys.maxsize) -> Iterator[Event]:
    """
    Iterate over the events of a journal, from number *after* on.

    It ends at a record that was cut short, as by a full disk.

    Arguments:
        largest: The largest record that is read, in bytes.

    Raises:
        UnreadableRecord: It holds something else.
    """
    reader = JournalReader(largest)
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            for event in reader.feed(chunk):
                if reader.number > after:
                    yield event


# -- writing -------------------------------------------------------------------------


def _encode(value: Any, blobs: list[bytes]) -> Any:
    if isinstance(value, str):
        if len(value) <= _SHORT:
            return value
        blobs.append(value.encode("utf-8", "surrogatepass"))
        return {"text": len(blobs) - 1}
    if isinstance(value, Sealed):
        blobs += (bytes(value.data), *map(bytes, value.buffers))
        # The number of its data among the blobs, and how many buffers follow it.
        return [len(blobs) - 1 - len(value.buffers), len(value.buffers)]
    if isinstance(value, HostError):
        return _encode_error(value, blobs)
    return dict(value) if isinstance(value, Mapping) else value


def _encode_error(error: HostError, blobs: list[bytes]) -> tuple[Any, ...]:
    """
    Return the module and name of the error's class, its facts and its sentence.
    """
    kind = type(error)
    facts = error.args if all(map(_is_plain, error.args)) else ()
    if len(repr(facts)) > _LONGEST_TEXT // 16:
        facts = ()
    return kind.__module__, kind.__qualname__, facts, _encode(str(error), blobs)


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    return value is None or type(value) in (int, float, str, bool)


# -- reading: each takes the value of one field, and the blobs of its record ----------

_Reader = Callable[[Any, list[bytes]], Any]


def _text(value: Any, blobs: list[bytes]) -> str:
    if type(value) is dict:
        at = _number(value["text"], blobs)
        data, blobs[at] = blobs[at], b""
        if not data:
            # Many texts of the same bytes would take far more memory than those.
            raise UnreadableRecord("a long text has no bytes, or those of another one")
        return data.decode("utf-8", "surrogatepass")
    if type(value) is not str:
        raise UnreadableRecord(f"{type(value).__name__} stands in place of a text")
    return value


def _number(value: Any, _: list[bytes]) -> int:
    if type(value) is not int or not 0 <= value <= _MOST:
        raise UnreadableRecord(f"{type(value).__name__} stands in place of a number")
    return value


def _code(value: Any, _: list[bytes]) -> int:
    if type(value) is not int or abs(value) > _MOST:
        raise UnreadableRecord(f"{type(value).__name__} stands in place of a code")
    return value


def _time(value: Any, _: list[bytes]) -> float:
    # Not with 'isfinite', which fails for numbers that are too large for it.
    if type(value) not in (int, float) or not -_MOST <= value <= _MOST:
        raise UnreadableRecord(f"{type(value).__name__} stands in place of a time")
    return float(value)


def _truth(value: Any, _: list[bytes]) -> bool:
    if type(value) is not bool:
        raise UnreadableRecord(f"{type(value).__name__} stands in place of a truth value")
    return value


def _texts(value: Any, blobs: list[bytes]) -> dict[str, str]:
    if type(value) is not dict:
        raise UnreadableRecord(f"{type(value).__name__} stands in place of texts")
    return {_text(name, blobs): _text(each, blobs) for name, each in value.items()}


def _sealed(value: Any, blobs: list[bytes]) -> Sealed:
    first, count = (_number(number, blobs) for number in value)
    data, *buffers = blobs[first : first + 1 + count]
    if len(buffers) != count or len(data) < PREFIX_SIZE:
        raise UnreadableRecord("a value is cut short")
    return Sealed(data, tuple(buffers))


def _error(value: Any, blobs: list[bytes]) -> HostError:
    """
    Return the error itself if its class is loaded here, otherwise a HostError of its sentence.

    Nothing is imported for a journal.
    """
    module, name, facts, sentence = value
    sentence = _text(sentence, blobs)
    kind = getattr(sys.modules.get(module), "__dict__", {}).get(name)
    if isinstance(kind, type) and issubclass(kind, HostError):
        try:
            error = kind(*map(_as_tuples, facts))
            if str(error) == sentence:
                return error
        except Exception:
            # The facts are not those of this class.
            return HostError(sentence)
    return HostError(sentence)


def _as_tuples(value: Any) -> Any:
    return tuple(map(_as_tuples, value)) if isinstance(value, list) else value


def _one_of(literal: Any) -> _Reader:
    known = get_args(literal)

    def read(value: Any, _: list[bytes]) -> str:
        if value not in known:
            raise UnreadableRecord(f"{value!r:.40} is none of {', '.join(known)}")
        return str(value)

    return read


def _or_none(read: _Reader) -> _Reader:
    return lambda value, blobs: None if value is None else read(value, blobs)


_EVENTS: dict[str, tuple[Callable[..., Event], tuple[_Reader, ...]]] = {
    "State": (State, (_one_of(Phase),)),
    "Log": (
        Log,
        (
            _text,
            _one_of(Level),
            _one_of(Source),
            _time,
            _or_none(_text),
            _or_none(_text),
            _truth,
            _or_none(_text),
        ),
    ),
    "Dropped": (read_dropped, (_number, _time)),
    "Item": (Item, (_sealed, _number, _number)),
    "Started": (Started, (_number,)),
    "Returned": (Returned, (_number,)),
    "Ready": (Ready, (_texts,)),
    "HomeCall": (HomeCall, (_number, _sealed)),
    "Outcome": (Outcome, (_sealed, _truth)),
    "Exited": (Exited, (_or_none(_code), _or_none(_code), _or_none(_error))),
}
