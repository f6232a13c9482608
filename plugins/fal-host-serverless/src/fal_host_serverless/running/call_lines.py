"""
Lines of a call, some of which carry marks of the far end.
"""

from __future__ import annotations

import json

from fal_core.calls import Call
from fal_core.events import Level, Log
from fal_core_worker.stream.frames import LEVELS, RECORD
from fal_host_serverless.far_end.marked_output import MARK

#: The numbers of the levels, of lines and of records, as they stand in a mark.
_NUMBERS = frozenset(str(kind + each) for kind in (0, RECORD) for each in range(len(LEVELS)))
#: Characters of incomplete lines, all of them together; what is more is cut.
_LONGEST = 1 << 24
#: How many lines may be incomplete at once.
_MOST = 1000


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
        self._parts: dict[str, list[str]] = {}
        self._held = 0
        self.begun: str = ""
        self.guessed = True

    def read(self, line: str, level: Level, time: float) -> Log | None:
        """
        Return the line as it was printed. None for a report, and for a part of a line.
        """
        text, mark, rest = line.rpartition(MARK)
        number, _, rest = rest.partition(":")
        flags, separator, owner = rest.partition(":")
        part = text if "e" not in flags else _decode(text)
        if not (mark and separator and number in _NUMBERS) or part is None:
            # A service that guesses levels takes INFO for a line that it cannot guess. A
            # function may print marks of its own, too.
            level = "STDOUT" if level == "INFO" and self.guessed else level
            return Log(line, level, "USER", time, self._call.id)
        if flags in ("o", "s") and not text:
            self.begun = flags
            return None
        if "e" in flags:
            parts = self._parts.pop(owner, [])
            parts.append(part)
            self._held += len(part)
            if "+" in flags and self._held < _LONGEST and len(self._parts) < _MOST:
                self._parts[owner] = parts
                return None
            text = "".join(parts)
            self._held -= len(text)
        kind, _, identity = owner.partition(" ")
        known: Level = LEVELS[int(number) % RECORD]  # type: ignore[assignment]  # Each is one.
        request = identity if kind == "request" else None
        logger = None
        if int(number) >= RECORD:
            logger, _, text = text.partition("\n")
        return Log(text, known, "USER", time, self._call.id, request, logger=logger)


def _decode(text: str) -> str | None:
    """
    Return the text that stands there in JSON. None if there is none.
    """
    try:
        found = json.loads(text)
    except (RecursionError, ValueError):
        return None
    return found if isinstance(found, str) else None
