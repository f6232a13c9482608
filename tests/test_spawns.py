"""Handles of spawned calls, and the queue of their log lines."""

from __future__ import annotations

from queue import Empty

import pytest

from fal_core import spawns
from fal_core.events import Log
from fal_core.spawns import LogQueue, SpawnInfo


def test_lines_keep_their_order_beyond_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines that do not fit into memory go to a file, and come out in order."""
    monkeypatch.setattr(spawns, "_MEMORY", 1000)
    queue = LogQueue()
    logs = [Log(f"line {number}") for number in range(20)]
    for log in logs[:10]:
        queue.put(log)
    first = [queue.get(timeout=0) for _ in range(5)]
    for log in logs[10:]:
        queue.put(log)

    assert queue.qsize() == 15
    assert [*first, *(queue.get(timeout=0) for _ in range(15))] == logs
    with pytest.raises(Empty):
        queue.get(timeout=0)


def test_a_queue_that_was_read_is_in_memory_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is closed once everything in it has been read."""
    monkeypatch.setattr(spawns, "_MEMORY", 0)
    queue = LogQueue()
    for text in ("one", "two"):
        queue.put(Log(text))
        assert queue.get(timeout=0) == Log(text)

    assert queue._file is None


def test_nothing_was_spawned() -> None:
    """Without a call there is no result to wait for."""
    with pytest.raises(ValueError, match="Nothing was spawned"):
        _ = SpawnInfo().return_value
