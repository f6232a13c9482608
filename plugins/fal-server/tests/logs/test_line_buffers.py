"""Line buffers: what is dropped of lines that nobody reads, and what is said of it."""

from __future__ import annotations

import asyncio
from typing import Any

from fal_server.logs.line_buffers import LineBuffer, LineQueue
from fal_server.logs.log_lines import LogLine, size_of

WHY = "nobody reads them."


def line(message: str, **fields: Any) -> LogLine:
    where = {"account_id": "me", "application": "app", "runner_id": "r"}
    return LogLine(message=message, **{**where, **fields})


def test_oldest_lines_make_room():
    """A buffer never has more than it may; a line for each runner says how many were dropped."""
    buffer = LineBuffer(3 * size_of(line("a")), WHY)
    for message in "abcde":
        buffer.add(line(message))
        assert buffer.size <= buffer.largest
    buffer.add(line("f", runner_id="other"))
    buffer.add(line("g", runner_id="other"))
    buffer.add(line("h", runner_id="other"))
    buffer.add(line("i", runner_id="other"))
    told = [(each.message, each.runner_id, each.level) for each in buffer.take(2)]
    assert told == [
        (f"5 lines were dropped: {WHY}", "r", "WARNING"),
        (f"1 line was dropped: {WHY}", "other", "WARNING"),
        ("g", "other", "STDOUT"),
        ("h", "other", "STDOUT"),
    ]
    assert [each.message for each in buffer.take(2)] == ["i"]
    assert (buffer.size, len(buffer)) == (0, 0)


def test_line_larger_than_the_buffer_is_kept():
    """One line always has room."""
    buffer = LineBuffer(10, WHY)
    buffer.add(line("a" * 1000))
    assert [len(each.message) for each in buffer.take(1)] == [1000]


def test_lines_are_put_back():
    """Lines that could not be passed on are the first again."""
    buffer = LineBuffer(10_000, WHY)
    for message in "abc":
        buffer.add(line(message))
    taken = buffer.take(2)
    buffer.add_again(taken)
    assert [each.message for each in buffer.take(3)] == ["a", "b", "c"]


def test_line_that_says_so_belongs_to_a_request_if_all_did():
    """Who reads the lines of one request is told as well."""
    buffer = LineBuffer(1, WHY)
    for message in "abc":
        buffer.add(line(message, request_id="q"))
    assert buffer.take(1)[0].request_id == "q"
    buffer.add(line("d", request_id="q"))
    buffer.add(line("e", request_id="other"))
    buffer.add(line("f", request_id="other"))
    assert buffer.take(1)[0].request_id is None


def test_messages_between_lines_are_never_dropped():
    """A queue keeps its order, and drops lines alone."""

    async def main() -> None:
        queue: LineQueue[str] = LineQueue(1, WHY)
        for each in (line("a"), line("b"), "between", line("c"), "end"):
            queue.put_nowait(each)
        taken = [getattr(each, "message", each) for each in await queue.take()]
        assert taken == [f"1 line was dropped: {WHY}", "b", "between", "c", "end"]
        reading = asyncio.ensure_future(queue.take())
        await asyncio.sleep(0)
        queue.put_nowait("more")
        assert await reading == ["more"]

    asyncio.run(main())
