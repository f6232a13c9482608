"""Events as bytes."""

from __future__ import annotations

import json
import resource
import signal
from pathlib import Path
from typing import get_args

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fal_core.errors import Cancelled, HostError, StartupTimeout, Timeout, WorkerLost
from fal_core.events import (
    Credit,
    Event,
    Exited,
    HomeCall,
    Item,
    Log,
    Message,
    Outcome,
    Ready,
    Reply,
    Returned,
    Sealed,
    Started,
    State,
)
from fal_core.sinks.dropped_lines import UnreadableRecord
from fal_core.sinks.journals import Journal, JournalReader, read_journal
from fal_core.sinks.records import decode_event, decode_message, encode_event, encode_message

text = st.text(st.characters(exclude_categories=["Cs"]))
logs = st.builds(
    Log,
    message=text,
    level=st.sampled_from(["DEBUG", "INFO", "WARNING", "ERROR", "STDOUT", "STDERR"]),
    source=st.sampled_from(["BUILDER", "BRIDGE", "USER"]),
    time=st.floats(0, 1e10),
    call_id=st.none() | text,
    request_id=st.none() | text,
    rank=st.none() | st.integers(0, 10_000),
)
events = st.one_of(
    logs,
    st.builds(State, st.sampled_from(["queued", "running", "ready", "draining"])),
    st.builds(Ready, st.dictionaries(text, text)),
)


def record_of(event: Event) -> bytes:
    """Return the record of an event."""
    data = encode_event(event)
    return len(data).to_bytes(4, "little") + data


@given(st.lists(events), st.integers(1, 40))
def test_events_round_trip_in_any_pieces(written: list[Log | State | Ready], size: int) -> None:
    """A journal read in pieces of any size gives the events that were written."""
    records = b"".join(map(record_of, written))
    reader = JournalReader()
    read = [
        event
        for at in range(0, len(records), size)
        for event in reader.feed(records[at : at + size])
    ]
    assert read == written


@pytest.mark.parametrize(
    "event",
    [
        Log("long" * 10_000 + "\ud800", "ERROR", "USER", 1.5, "call", "request", True),
        Ready({"run": "http://here"}),
        Item(Sealed(b"data"), 3, 2),
        Item(Sealed(b"data", (b"one", b"", b"three")), 3, 2),
        Started(3),
        Returned(4),
        HomeCall(1, Sealed(b"data", (b"buffer",))),
        Outcome(Sealed(b"data"), True),
        Exited(),
        Exited(1, 9),
    ],
)
def test_every_event_comes_back(event: Event) -> None:
    """An event keeps its values, texts of any length and buffers included."""
    assert decode_event(encode_event(event)) == event


@pytest.mark.parametrize(
    "message",
    [
        Reply(1, Sealed(b"data")),
        Reply(2, Sealed(b"data", (b"buffer", b"")), True),
        Credit(8),
    ],
)
def test_every_message_comes_back(message: Message) -> None:
    """A message keeps its values, and is no event: a journal holds none."""
    data = encode_message(message)
    assert decode_message(data) == message
    with pytest.raises(UnreadableRecord):
        decode_event(data)
    with pytest.raises(UnreadableRecord):
        decode_message(data[:-1])


def test_the_buffers_of_a_message_may_be_views() -> None:
    """A large answer holds views of what it was made of; its bytes travel."""
    reply = Reply(1, Sealed(b"data", (memoryview(bytearray(b"one")),)))
    assert decode_message(encode_message(reply)) == Reply(1, Sealed(b"data", (b"one",)))


def test_a_journal_is_read_from_a_number_on(tmp_path: Path) -> None:
    """Those who come again read what they have not had, up to where the last record is whole."""
    path = tmp_path / "journal"
    journal = Journal(path)
    for number in range(4):
        journal.append(Started(number))
    journal.close()
    path.write_bytes(path.read_bytes()[:-1])
    assert list(read_journal(path, 1)) == [Started(1), Started(2)]


def record(text: bytes, *blobs: bytes) -> bytes:
    """Return a record with any text."""
    data = len(text).to_bytes(4, "little") + text + b"".join(blobs)
    return len(data).to_bytes(4, "little") + data


@given(st.data(), st.integers(1, 40))
def test_whatever_comes_is_events_or_one_error(data: st.DataObject, size: int) -> None:
    """
    Bytes of any kind, and records that were changed or cut, are read as events with fields
    of the right types, or refused by the one error.
    """
    value = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | text,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=2),
        max_leaves=8,
    )
    names = st.sampled_from(["Log", "Dropped", "Item", "Exited", "Ready", "Outcome", "os"])
    forged = st.builds(
        lambda *parts: record(json.dumps(parts[:3]).encode(), parts[3]),
        names,
        st.lists(value, max_size=7),
        value | st.lists(st.integers(-2, 8), max_size=3),
        st.binary(),
    )
    written = events.map(lambda event: record_of(event))
    changed = bytearray(b"".join(data.draw(st.lists(forged | written | st.binary()))))
    if changed:
        at = data.draw(st.integers(0, len(changed) - 1))
        changed[at] = data.draw(st.integers(0, 255))
    reader = JournalReader()
    try:
        for start in range(0, len(changed), size):
            for event in reader.feed(bytes(changed[start : start + size])):
                assert isinstance(event, get_args(Event))
                # It may be written again, as only plain values are there.
                decode_event(encode_event(event))
    except UnreadableRecord as error:
        assert str(error)  # noqa: PT017  # that there is one is not asked


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (record(b'["Log", [1], []]'), "int stands in place of a text"),
        (record(b'["Log", ["", "LOUD"], []]'), "'LOUD' is none of TRACE"),
        (
            record(b'["Log", ["", "INFO", "USER", 0, null, null, false, null, -1], []]'),
            "int stands in place of a number",
        ),
        (record(b'["Log", ["", "INFO", "USER", NaN], []]'), "float stands in place of a time"),
        (record(b'["Log", ["", "INFO", "USER", 1%s], []]' % (b"0" * 400)), "place of a time"),
        (record(b'["Dropped", [1, -1%s], []]' % (b"0" * 400)), "int stands in place of a time"),
        (record(b'["Ready", [["run"]], []]'), "list stands in place of texts"),
        (record(b'["Ready", [null], []]'), "NoneType stands in place of texts"),
        (
            record(b'["Ready", [{"a": {"text": 0}, "b": {"text": 0}}], [1]]', b"a"),
            "another one",
        ),
        (record(b'["Started", [-1], []]'), "int stands in place of a number"),
        (record(b'["Exited", ["9"], []]'), "str stands in place of a code"),
        (record(b'["Outcome", [[0, 0], 1], [4]]', b"data"), "int stands in place of a truth"),
        (record(b'["Outcome", [[0, 1], true], [4]]', b"data"), "a value is cut short"),
        (record(b'["Outcome", [[0, 0], true], [3]]', b"dat"), "a value is cut short"),
        (record(b'["Outcome", [[0, 0], true], [4]]', b"dat"), "another length"),
        (record(b'["State", ["ready", "ready"], []]'), "more fields"),
        (record(b'["system", ["ls"], []]'), "no event: KeyError"),
        (record(b'["Exited", [], []] []'), "more text than its JSON"),
        (record(b"[" * 100_000), "no event"),
        (record(b" " * (1 << 20) + b"1"), "has 1048577 of text"),
        (b"\xff" * 8, "announces 4294967295 bytes, of at most 1000"),
        (b"\x10\0\0\0" * 2, "a record of 16 bytes has 16 of text"),
    ],
)
def test_a_record_that_cannot_be_read_is_refused(data: bytes, what: str) -> None:
    """The error says what is wrong with it."""
    reader = JournalReader(1000 if data[3:4] == b"\xff" else 1 << 24)
    with pytest.raises(UnreadableRecord, match=what):
        list(reader.feed(data))


def test_facts_of_another_class_are_left_out() -> None:
    """An end whose facts do not fit its error is a host error with the sentence."""
    for name, facts in (("Timeout", ["soon"]), ("WorkerLost", [1] * 9), ("Path", ["/"])):
        text = json.dumps(["Exited", [None, None, ["fal_core.errors", name, facts, "So."]], []])
        read = decode_event(record(text.encode())[4:])
        assert isinstance(read, Exited)
        assert type(read.reason) is HostError
        assert str(read.reason) == "So."


def test_the_reason_of_an_end_keeps_its_class_and_facts() -> None:
    """Errors of the tree come back as themselves, with their facts."""
    for reason in (
        StartupTimeout(2.5),
        Timeout(1.5),
        WorkerLost(signal=9),
        Cancelled(),
    ):
        read = decode_event(encode_event(Exited(reason=reason)))
        assert isinstance(read, Exited)
        assert type(read.reason) is type(reason)
        assert str(read.reason) == str(reason)


def test_an_error_of_a_plugin_comes_back_as_a_sentence() -> None:
    """A class that the reader need not have is read as a host error that says the same."""

    @attrs.define
    class Evicted(HostError):
        node: str

        def __str__(self) -> str:
            return f"Node {self.node} was taken away."

    read = decode_event(encode_event(Exited(reason=Evicted("n1"))))

    assert isinstance(read, Exited)
    assert type(read.reason) is HostError
    assert str(read.reason) == "Node n1 was taken away."


@pytest.mark.parametrize("written", [0, 10, 60])
def test_events_are_written_as_a_whole_or_not_at_all(tmp_path: Path, written: int) -> None:
    """
    On a full disk, a journal has none of the events that cannot be written, and goes on once
    there is room.
    """
    path = tmp_path / "journal"
    before = signal.getsignal(signal.SIGXFSZ)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    journal = Journal(path)
    try:
        journal.append(Log("first"))
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + written, hard))
        with pytest.raises(OSError, match="File too large"):
            journal.append(Log("second"), Log("third"))
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        journal.append(Log("fourth"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
        journal.close()
    assert journal.count == 2
    assert [*read_journal(path)] == [Log("first"), Log("fourth")]
