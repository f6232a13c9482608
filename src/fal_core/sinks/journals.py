"""
Journals: the events of an execution in a file, for processes that attach later.

A journal is a sequence of records, each of which begins with its length in four bytes, little
endian.
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from fal_core.events import Event, Log
from fal_core.sinks.dropped_lines import UnreadableRecord, count_events, drop_lines
from fal_core.sinks.records import LONGEST_TEXT, TEXT_LENGTH, decode_event, encode_event

#: The length of a record, without this one, and that of its text.
_LENGTHS = struct.Struct("<II")
_LENGTH = struct.Struct("<I")


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
        self.count: int = 0
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
            records.append(_LENGTH.pack(len(data)) + data)
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
        """Write all of *data*, or nothing: what follows half of a record cannot be read."""
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
        """Make room for as many lines as it has now, in half of what it may have."""
        try:
            self._lines -= drop_lines(self._path, self._lines - self._kept // 2)
        except (OSError, UnreadableRecord):
            # It is tried again when there are more lines. A reader of what a function has
            # overwritten is told so.
            self._limit += self._kept
            return
        self._file.close()
        self._file = open(self._path, "ab", buffering=0)  # noqa: SIM115  # until close
        # Of a file that a function has overwritten, less is dropped than is asked for.
        self._limit = max(self._kept, self._lines + self._kept // 2)
        self.replaced_at.append(self.count)

    def close(self) -> None:
        """Close the file."""
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
        self.number: int = 0
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
                if text > min(size - TEXT_LENGTH.size, LONGEST_TEXT):
                    raise UnreadableRecord(f"a record of {size} bytes has {text} of text")
                end = at + _LENGTH.size + size
                if end > len(rest):
                    break
                record = bytes(memoryview(rest)[at + _LENGTH.size : end])
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
