"""Output of calls, marked for the agent's parent."""

from __future__ import annotations

from typing import Any

from fal_core import function
from fal_core.events import Log


def test_unfinished_line_is_sent_once(host: Any):
    """A line that is flushed several times before its end is sent once, when it has ended."""

    @function("virtualenv", host=host)
    def count() -> None:
        import time

        for number in range(3):
            print(f"\r{number} of 3", end="", flush=True)
            time.sleep(0.1)  # The part is flushed, and may be read, meanwhile.
        print(", done")

    spawned = count.spawn()
    spawned.future.result()
    lines: list[Log] = []
    while not spawned.logs.empty():
        lines.append(spawned.logs.get())
    assert [line.message for line in lines if line.source == "USER"] == ["2 of 3, done"]
