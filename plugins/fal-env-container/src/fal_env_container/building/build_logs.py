"""What an engine prints during a build: passed on as log events, and read for the step at hand."""

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
#: A line of BuildKit, which runs several steps at once: their number, and what is said.
_KIT_LINE = re.compile(r"#(\d+) (?:\d+\.\d+ )?(.*)")
#: The first one of a step, ``[stage-0 2/3] RUN x``.
_KIT_STEP = re.compile(r"\[(?:\S+ +)?(\d+)/(\d+)\] (.*)")
_ERROR = re.compile(r"(?:Error: |ERROR: |error: |Error response from daemon: )")
#: An engine's own log, which tells what went wrong on its way out.
_ENGINE_LOG = re.compile(r'time="[^"]*" level=(\w+) msg="((?:[^"\\]|\\.)*)"')
#: The image that was built or pulled, at the end.
_IDENTITY = re.compile(r"[0-9a-f]{64}")
_NO_SPACE = os.strerror(errno.ENOSPC).lower()
_FOREIGN = os.strerror(errno.ENOEXEC).lower()


@attrs.define
class Step:
    """One instruction of a Dockerfile that is being run, and what it has printed last."""

    number: int
    of: int
    text: str
    lines: list[str] = attrs.field(factory=list)

    def __str__(self) -> str:
        return f"step {self.number} of {self.of}, {self.text!r},"

    def add(self, line: str) -> None:
        """Keep *line*, and no more lines than an error shows."""
        self.lines.append(line)
        del self.lines[:-_MOST_LINES]


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
    _rest: list[str] = attrs.field(factory=list)
    _kit_steps: dict[str, Step] = attrs.field(factory=dict)
    _is_kit: bool = False

    def begin(self) -> None:
        """Forget the lines of the command before."""
        self.step, self._is_kit = None, False
        self.errors.clear()
        self._rest.clear()
        self._kit_steps.clear()

    def write(self, line: str) -> None:
        """Log one *line*, without what is hidden."""
        for text in self.hidden:
            line = line.replace(text, "***")
        if self.unsaid:
            line = line.replace(self.unsaid, "")
        if not line.strip() or _IDENTITY.fullmatch(line):
            return
        own = _ENGINE_LOG.match(line)
        if own is not None:
            # It escapes quotes, and stands beside the lines of the step.
            if own[1] == "warning":
                self._say(own[2].replace('\\"', '"'), "WARNING")
            elif own[1] == "fatal":
                self.errors.append(clean_problem(line))
        elif _ERROR.match(line):
            self.errors.append(clean_problem(line))
        else:
            said = self._read(line)
            if said is not None:
                self._say(said, "WARNING" if said.lower().startswith("warn") else "INFO")

    def _say(self, line: str, level: Level) -> None:
        self.sink(Log(line, level, "BUILDER", time.time()))

    def _read(self, line: str) -> str | None:
        """Return *line* as it is logged; None for one that is not."""
        kit = _KIT_LINE.match(line)
        if kit is not None:
            self._is_kit = True
            return self._read_kit(kit[1], kit[2])
        if self._is_kit:
            # At its end BuildKit shows once more what it has said, and the Dockerfile.
            return None
        found = _STEP.match(line)
        if found is not None:
            return self._read_step(found)
        if self.step is not None:
            self.step.add(line)
        else:
            self._rest.append(line)
            del self._rest[:-_MOST_LINES]
        return line

    def _read_step(self, found: re.Match[str]) -> str | None:
        """
        Return the line of a step with its number among those that the user wrote; None for
        a step that was added.
        """
        number, of = int(found[4]), int(found[5]) - self.added
        # The label comes last.
        of -= found[2] == found[3]
        if 1 < number <= self.added + 1 or number - self.added > of:
            return None
        number -= self.added if number > 1 else 0
        self.step = Step(number, of, found[6])
        return f"{found[1]}STEP {number}/{of}: {found[6]}"

    def _read_kit(self, name: str, said: str) -> str | None:
        found = _KIT_STEP.match(said)
        known = self._kit_steps.get(name)
        if found is not None and known is None:
            self._kit_steps[name] = Step(int(found[1]), int(found[2]), found[3])
            return f"STEP {found[1]}/{found[2]}: {found[3]}"
        if said.startswith("ERROR: "):
            self.step = known
            return None
        # What BuildKit does besides, such as reading the context, is not said.
        if known is None or found is not None or said.startswith("DONE "):
            return None
        if said != "CACHED":
            known.add(said)
        return said

    @property
    def last_lines(self) -> tuple[str, ...]:
        """The last lines of the step, or of the command if it has none."""
        return tuple(self._rest if self.step is None else self.step.lines)

    @property
    def problem(self) -> str:
        """What the engine says is wrong, as part of a sentence."""
        if self.errors:
            return self.errors[-1]
        return self.last_lines[-1] if self.last_lines else "it does not say why"

    @property
    def says_disk_is_full(self) -> bool:
        """Whether the engine or the step says that there is no room."""
        return self._says(_NO_SPACE)

    @property
    def says_program_is_foreign(self) -> bool:
        """Whether the engine or the step says that a program is for another processor."""
        return self._says(_FOREIGN)

    def _says(self, text: str) -> bool:
        return text in " ".join((*self.errors, *self.last_lines)).lower()
