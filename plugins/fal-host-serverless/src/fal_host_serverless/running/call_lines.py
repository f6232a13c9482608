"""
Lines of a call, some of which carry marks of the far end.
"""

from __future__ import annotations

import json

from fal_core.calls import Call
from fal_core.events import Level, Log
from fal_core_worker.stream.frames import LEVELS
from fal_host_serverless.far_end.marked_output import MARK


class CallLines:
    """
    Reads the lines of a call.

    Attributes:
        begun: The last report of the far end: ``o`` while it opens the function, ``s``
            once it has started it. Empty before both.

        guessed: Whether the service guesses the levels of lines that carry none.
    """

    def __init__(self, call: Call) -> None:
        self._call = call
        self._parts: dict[str, str] = {}
        self.begun = ""
        self.guessed = True

    def read(self, line: str, level: Level, time: float) -> Log | None:
        """
        Return the line as it was printed. None for a report, and for a part of a line.
        """
        text, mark, rest = line.rpartition(MARK)
        number, _, rest = rest.partition(":")
        flags, separator, owner = rest.partition(":")
        if not (mark and separator and number.isdigit() and int(number) < len(LEVELS)):
            # A service that guesses levels takes INFO for a line that it cannot guess.
            level = "STDOUT" if level == "INFO" and self.guessed else level
            return Log(line, level, "USER", time, self._call.id)
        if flags in ("o", "s") and not text:
            self.begun = flags
            return None
        if "e" in flags:
            text = self._parts.pop(owner, "") + json.loads(text)
        if "+" in flags:
            self._parts[owner] = text
            return None
        kind, _, identity = owner.partition(" ")
        known: Level = LEVELS[int(number)]  # type: ignore[assignment]  # Each is one.
        request = identity if kind == "request" else None
        return Log(text, known, "USER", time, self._call.id, request)
