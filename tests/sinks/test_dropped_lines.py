"""Journals without their oldest lines: what is missing is said, and all numbers stay."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fal_core.events import Event, Log, Started, State
from fal_core.sinks.dropped_lines import UnreadableRecord, drop_lines, skip_events
from fal_core.sinks.journals import Journal, JournalReader, read_journal


def write(path: Path, events: list[Event], kept: int | None = None) -> Journal:
    path.unlink(missing_ok=True)
    journal = Journal(path, kept)
    for event in events:
        journal.append(event)
    journal.close()
    return journal


def line(number: int) -> Log:
    return Log(f"line {number}", time=float(number))


def numbered(path: Path) -> list[tuple[int, Event]]:
    """Return the events of a journal, each with its number."""
    reader = JournalReader()
    return [(reader.number, event) for event in reader.feed(path.read_bytes())]


def test_oldest_lines_make_room(tmp_path: Path) -> None:
    """A journal keeps the newest lines and all other events, with their numbers."""
    path = tmp_path / "journal"
    events: list[Event] = [State("running"), *map(line, range(1, 1000)), Started(7)]
    events += [*map(line, range(1001, 3000))]
    journal = write(path, events, kept=20_000)
    assert path.stat().st_size < 25_000
    assert journal.replaced_at
    assert [*tmp_path.iterdir()] == [path]
    found = numbered(path)
    first, (number, note), second, _, *rest = found
    assert (first, second) == ((1, State("running")), (1001, Started(7)))
    assert isinstance(note, Log)
    assert "999 lines before this one were dropped" in note.message
    assert (number, note.time) == (1000, 999.0)
    assert rest == [*enumerate(events, 1)][3000 - len(rest) :]


@pytest.mark.parametrize("after", range(13))
def test_reading_goes_on_at_the_number_of_an_event(tmp_path: Path, after: int) -> None:
    """Whoever has seen some events gets the others, and is told of those that are missing."""
    path = tmp_path / "journal"
    events: list[Event] = [*map(line, range(5)), Started(1), *map(line, range(6, 12))]
    write(path, events)
    assert drop_lines(path, 1) > 0
    assert drop_lines(path, 1) == 0 or path.stat().st_size
    with open(path, "rb") as journal:
        rest = skip_events(journal, after) + journal.read()
    reader = JournalReader()
    found = [(after + reader.number, event) for event in reader.feed(rest)]
    assert found[-1:] == ([] if after >= 12 else [(12, line(11))])
    assert after + reader.number == 12
    if after < 2:
        assert f"{2 - after} line" in str(found[0][1])
    assert [event for _, event in found if event in events] == events[max(after, 2) :]
    kept = [event for event in read_journal(path, after) if event in events]
    assert kept == events[max(after, 2) :]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=60), st.integers(300, 3000))
def test_numbers_stay_however_lines_are_dropped(
    tmp_path_factory: pytest.TempPathFactory, kinds: list[bool], kept: int
) -> None:
    """Every event that is kept has the number that it was written with."""
    path = tmp_path_factory.mktemp("journal") / "journal"
    events = [line(number) if kind else Started(number) for number, kind in enumerate(kinds)]
    write(path, events, kept)
    found = {number: event for number, event in numbered(path) if event in events}
    assert found == {events.index(event) + 1: event for event in found.values()}
    assert [*found.values()][-1:] in ([], events[-1:]) or not isinstance(events[-1], Started)
    assert {each for each in events if isinstance(each, Started)} <= {*found.values()}


def test_journal_that_cannot_be_replaced_goes_on(tmp_path: Path) -> None:
    """A journal whose file was moved away meanwhile keeps all lines."""
    path, moved = tmp_path / "journal", tmp_path / "moved"
    journal = Journal(path, kept=500)
    path.rename(moved)
    for number in range(50):
        journal.append(line(number))
    journal.close()
    assert [*read_journal(moved)] == [*map(line, range(50))]
    assert [*tmp_path.iterdir()] == [moved]


def record(text: bytes) -> bytes:
    """Return a record with any text."""
    lengths = (len(text) + 4).to_bytes(4, "little"), len(text).to_bytes(4, "little")
    return b"".join((*lengths, text))


OVERWRITTEN = [
    b'["Log", ["a line", "INFO"',
    b'["Log", ["a line", "INFO", "USER", "no time"], []]',
    b'["Log"' + b"[" * 200_000,
    b'["Log", {}, []]',
    b'["Log"] \xff',
    b'["Dropped", [1e999, 0], []]',
    b'["Dropped", [], []]',
]


@pytest.mark.parametrize("text", OVERWRITTEN, ids=range(len(OVERWRITTEN)))
def test_overwritten_journal_is_unreadable(tmp_path: Path, text: bytes) -> None:
    """
    A journal that a function has overwritten takes further events, and whoever reads it is
    told that it cannot be read, from whatever event on.
    """
    path = tmp_path / "journal"
    path.write_bytes(record(text) + b"".join(record(b'["Started", [1], []]') for _ in "123"))
    journal = Journal(path, kept=500)
    for number in range(50):
        journal.append(line(number))
    journal.close()
    assert [*tmp_path.iterdir()] == [path]
    with pytest.raises(UnreadableRecord):
        [*read_journal(path)]
    if text.startswith(b'["Dropped"'):
        with open(path, "rb") as file:
            start = skip_events(file, 2)
            with pytest.raises(UnreadableRecord):
                [*JournalReader().feed(start + file.read())]


def test_overwritten_journal_is_not_replaced_for_each_line(tmp_path: Path) -> None:
    """Where no line can be dropped, the journal grows, and is not copied again for every line."""
    path = tmp_path / "journal"
    path.write_bytes((1 << 31).to_bytes(4, "little") + b"rubbish")
    journal = Journal(path, kept=1000)
    for number in range(100):
        journal.append(line(number))
    journal.close()
    assert len(journal.replaced_at) < 20
