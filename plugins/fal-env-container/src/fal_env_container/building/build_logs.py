"""
What an engine prints during a build: passed on as log events, and read for the step at hand.
"""

from __future__ import annotations

import errno
import os
import re
import time

import attrs

from fal_core.events import Level, Log, LogSink
from fal_env_container.engines import clean_problem

#: Lines that stay in an error.
_MOST_LINES = 20

#: The line before a step: ``STEP 2/3: RUN x``, or ``[1/2] STEP 2/3: RUN x``; Docker's
#: builder before BuildKit has ``Step 2/3 : RUN x``.
_STEP = re.compile(r"((?:\[(\d+)/(\d+)\] )?)S(?:TEP|tep) (\d+)/(\d+) ?: (.*)")
#: BuildKit's: ``#7 [stage 2/3] RUN x``, and the number of the step before each line of it.
_KIT_STEP = re.compile(r"#(\d+) \[(?:\S+ +)?(\d+)/(\d+)\] (.*)")
_KIT_LINE = re.compile(r"#(\d+) (?:[\d.]+ )?(.*)")
_NO_SPACE = os.strerror(errno.ENOSPC).lower()
_ERROR = re.compile(r"(?:time=\S+ level=(?:error|fatal) msg=|Error: |ERROR: |error: )")
#: An engine's own log, which tells what went wrong on its way out.
_ENGINE_LOG = re.compile(r'time="[^"]*" level=(\w+) msg="((?:[^"\\]|\\.)*)"')


@attrs.frozen
class Step:
    """
    One instruction of a Dockerfile that is being run.
    """

    number: int
    of: int
    text: str

    def __str__(self) -> str:
        return f"step {self.number} of {self.of}, {self.text!r},"


@attrs.define
class BuildLog:
    """
    Passes lines to *sink* as events of the source ``BUILDER``, and keeps the last ones.

    Attributes:
        hidden: Texts that no line may show.

        unsaid: A text that was added to instructions, and is left out of their lines.

        added: How many instructions were added behind each ``FROM``.

        step: The step that runs, or has failed.

        errors: The lines in which the engine says what is wrong.
    """

    sink: LogSink
    hidden: tuple[str, ...] = ()
    unsaid: str = ""
    added: int = 0
    step: Step | None = None
    errors: list[str] = attrs.field(factory=list)
    _lines: list[str] = attrs.field(factory=list)

    def begin(self) -> None:
        """
        Forget the lines of the command before.
        """
        self.step = None
        self.errors.clear()
        self._lines.clear()

    def write(self, line: str) -> None:
        """
        Log one *line*, without what is hidden.
        """
        for text in self.hidden:
            line = line.replace(text, "***")
        if self.unsaid:
            line = line.replace(self.unsaid, "")
        if not line.strip():
            return
        own = _ENGINE_LOG.match(line)
        if own is not None:
            # It escapes quotes, and stands beside the lines of the step.
            message = own[2].replace('\\"', '"')
            if own[1] == "warning":
                self.sink(Log(message, "WARNING", "BUILDER", time.time()))
            return
        if _ERROR.match(line):
            self.errors.append(clean_problem(line))
            return
        said = self._find_step(line)
        if said is None:
            return
        line = said
        level: Level = "WARNING" if line.lower().startswith("warn") else "INFO"
        self.sink(Log(line, level, "BUILDER", time.time()))

    def _find_step(self, line: str) -> str | None:
        """
        Return *line* as it is logged, with the step's number among those that the user wrote;
        None for a step that was added.
        """
        found, kit = _STEP.match(line), _KIT_STEP.match(line)
        if found is not None:
            number, of = int(found[4]), int(found[5]) - self.added
            # The label comes last.
            of -= found[2] == found[3]
            if 1 < number <= self.added + 1 or number - self.added > of:
                return None
            number -= self.added if number > 1 else 0
            self.step = Step(number, of, found[6])
            self._lines.clear()
            return f"{found[1]}STEP {number}/{of}: {found[6]}"
        if kit is not None:
            self.step = Step(int(kit[2]), int(kit[3]), kit[4])
            self._lines.clear()
        else:
            of_kit = _KIT_LINE.match(line)
            self._lines.append(of_kit[2] if of_kit else line)
            del self._lines[:-_MOST_LINES]
        return line

    @property
    def last_lines(self) -> tuple[str, ...]:
        """
        The last lines of the step, or of the command if it has none.
        """
        return tuple(self._lines)

    @property
    def problem(self) -> str:
        """
        What the engine says is wrong, as part of a sentence.
        """
        if self.errors:
            return self.errors[-1]
        return self._lines[-1] if self._lines else "it does not say why"

    @property
    def says_disk_is_full(self) -> bool:
        """
        Whether the engine or the step says that there is no room.
        """
        return _NO_SPACE in " ".join((*self.errors, *self._lines)).lower()
