"""
Dropped lines: a journal without its oldest lines, and the same numbers for all other events.

One record takes the place of lines that follow each other. It says how many they were, and is
read as a line that says so too.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import copyfileobj
from typing import IO, Any, TypeVar

from fal_core.caches import new_file
from fal_core.events import Log

#: The length of a record, without this one, and that of its text.
_LENGTHS = struct.Struct("<II")
_LENGTH = struct.Struct("<I")

#: How the text of a line begins, and that of a record in the place of lines.
_LINE, _DROPPED = b'["Log"', b'["Dropped"'

_CHUNK = 1 << 20

NumberT = TypeVar("NumberT", int, float)


class UnreadableRecord(ValueError):
    """A journal holds what is no event. The argument says what is wrong."""


def drop_lines(path: Path, excess: int) -> int:
    """
    Replace a journal by one without its oldest lines, and return how many bytes less it has.

    Arguments:
        excess: The bytes of the lines that are dropped, at least.

    Raises:
        OSError: It cannot be written; the journal is as it was.

        UnreadableRecord: It holds something else, and is as it was.
    """
    left, count = excess, 0
    last = b""
    with new_file(path) as new:
        with open(path, "rb") as old, open(new, "xb") as target:
            for record in _records(old):
                if left > 0 and _begins(record, _LINE):
                    left -= len(record)
                    count += 1
                    last = record
                    continue
                if _begins(record, _DROPPED):
                    count += count_events(record[_LENGTH.size :])
                    last = record
                    continue
                if count:
                    target.write(_encode(count, last))
                    count = 0
                target.write(record)
                if left <= 0:
                    break
            if count:
                target.write(_encode(count, last))
            copyfileobj(old, target, _CHUNK)
        os.chmod(new, path.stat().st_mode & 0o777)
        size = path.stat().st_size - os.stat(new).st_size
        os.replace(new, path)
    return size


def count_events(record: bytes) -> int:
    """
    Return for how many events a record stands, which is given without its length.

    Raises:
        UnreadableRecord: It does not say so.
    """
    text = record[_LENGTH.size : _LENGTH.size + len(_DROPPED)]
    if text != _DROPPED:
        return 1
    return _read(record, 0, int)


def read_dropped(count: int, time: float) -> Log:
    """Return the line that stands for lines that were dropped."""
    lines = "1 line" if count == 1 else f"{count:,} lines"
    sentence = f"The journal has no room for all lines: {lines} before this one were dropped."
    return Log(sentence, "WARNING", "BRIDGE", time)


def skip_events(journal: IO[bytes], after: int) -> bytes:
    """
    Read on to the event with number *after*, and return what comes first instead of the
    record that is the last to be skipped: empty, or the rest of the lines that it stands for.

    A record that cannot be read is skipped no further: the caller that reads on is told so.
    """
    skipped = 0
    while skipped < after:
        head = journal.read(_LENGTHS.size)
        if len(head) < _LENGTHS.size:
            break
        size, _ = _LENGTHS.unpack(head)
        start = head + journal.read(max(0, min(size - _LENGTH.size, len(_DROPPED))))
        if not _begins(start, _DROPPED):
            journal.seek(_LENGTH.size + size - len(start), os.SEEK_CUR)
            skipped += 1
            continue
        record = start + _read_up_to(journal, _LENGTH.size + size - len(start))
        try:
            skipped += count_events(record[_LENGTH.size :])
            if skipped > after:
                return _encode(skipped - after, record)
        except UnreadableRecord:
            return record
    return b""


def _records(journal: IO[bytes]) -> Iterator[bytes]:
    while len(head := journal.read(_LENGTH.size)) == _LENGTH.size:
        (size,) = _LENGTH.unpack(head)
        yield head + _read_up_to(journal, size)


def _read_up_to(journal: IO[bytes], size: int) -> bytes:
    """Read at most *size* bytes, without memory for more than there are."""
    if size > _CHUNK:
        size = min(size, os.fstat(journal.fileno()).st_size)
    return journal.read(size)


def _begins(record: bytes, text: bytes) -> bool:
    return record.startswith(text, _LENGTHS.size)


def _encode(count: int, last: bytes) -> bytes:
    """Return the record for *count* lines. Its time is that of the record *last*."""
    # A line has its time after its message, its level and its source.
    time = _read(last[_LENGTH.size :], 1 if _begins(last, _DROPPED) else 3, float)
    text = json.dumps(["Dropped", [count, time], []]).encode()
    return _LENGTHS.pack(_LENGTH.size + len(text), len(text)) + text


def _read(record: bytes, field: int, kind: Callable[[Any], NumberT]) -> NumberT:
    """
    Return a number among the fields of a record.

    Raises:
        UnreadableRecord: It has none there.
    """
    try:
        (length,) = _LENGTH.unpack_from(record)
        _, values, _ = json.loads(record[_LENGTH.size : _LENGTH.size + length])
        return kind(values[field])
    except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise UnreadableRecord(f"a record is no line: {type(error).__name__}") from error
    except struct.error as error:
        raise UnreadableRecord("a record is cut short") from error
