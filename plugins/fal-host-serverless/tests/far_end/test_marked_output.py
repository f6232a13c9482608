"""
Output of calls, marked for the agent's parent.
"""

from __future__ import annotations

from typing import Any

from fal_core import function
from fal_core.events import Log


def test_line_that_is_flushed_before_its_end_comes_once(host: Any):
    """
    What is shown of a line before it ends is for who watches, not for who gets lines.
    """

    @function("virtualenv", host=host)
    def count() -> None:
        import time

        for number in range(3):
            print(f"\r{number} of 3", end="", flush=True)
            time.sleep(0.1)
        print(", done")

    spawned = count.spawn()
    spawned.future.result()
    lines: list[Log] = []
    while not spawned.logs.empty():
        lines.append(spawned.logs.get())
    assert [line.message for line in lines if line.source == "USER"] == ["2 of 3, done"]
