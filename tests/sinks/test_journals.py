"""
Events as bytes.
"""

from __future__ import annotations

import marshal
from pathlib import Path

import attrs
from hypothesis import given
from hypothesis import strategies as st

from fal_core.errors import Cancelled, HostError, StartupTimeout, Timeout, WorkerLost
from fal_core.events import Exited, Log, Ready, State
from fal_core.sinks.journals import (
    Journal,
    JournalReader,
    decode_event,
    encode_event,
    read_journal,
)

text = st.text(st.characters(exclude_categories=["Cs"]))
logs = st.builds(
    Log,
    message=text,
    level=st.sampled_from(["DEBUG", "INFO", "WARNING", "ERROR", "STDOUT", "STDERR"]),
    source=st.sampled_from(["BUILDER", "BRIDGE", "USER"]),
    time=st.floats(0, 1e10),
    call_id=st.none() | text,
    request_id=st.none() | text,
)
events = st.one_of(
    logs,
    st.builds(State, st.sampled_from(["queued", "running", "ready", "draining"])),
    st.builds(Ready, st.dictionaries(text, text)),
)


@given(st.lists(events), st.integers(1, 40))
def test_events_round_trip_in_any_pieces(written: list[Log | State | Ready], size: int) -> None:
    """
    A journal read in pieces of any size gives the events that were written.
    """
    records = b"".join(
        len(data).to_bytes(4, "little") + data for data in map(encode_event, written)
    )
    reader = JournalReader()
    read = [
        event
        for at in range(0, len(records), size)
        for event in reader.feed(records[at : at + size])
    ]
    assert read == written


def test_a_journal_from_before_requests_had_ids_is_read(tmp_path: Path) -> None:
    """
    A line without a request id is read as an event that has none.
    """
    old = marshal.dumps(("Log", ["hello", "STDOUT", "USER", 12.5, "call"]), 2)
    path = tmp_path / "journal"
    path.write_bytes(len(old).to_bytes(4, "little") + old)
    journal = Journal(path)
    journal.append(Log("asked", call_id="call", request_id="request"))
    journal.close()

    assert list(read_journal(path)) == [
        Log("hello", "STDOUT", "USER", 12.5, "call", None),
        Log("asked", call_id="call", request_id="request"),
    ]


def test_the_reason_of_an_end_keeps_its_class_and_facts() -> None:
    """
    Errors of the tree come back as themselves, with their facts.
    """
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
    """
    A class that the reader need not have is read as a host error that says the same.
    """

    @attrs.define
    class Evicted(HostError):
        node: str

        def __str__(self) -> str:
            return f"Node {self.node} was taken away."

    read = decode_event(encode_event(Exited(reason=Evicted("n1"))))

    assert isinstance(read, Exited)
    assert type(read.reason) is HostError
    assert str(read.reason) == "Node n1 was taken away."
