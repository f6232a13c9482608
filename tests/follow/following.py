"""Following: a page from its first block to its last, each a step that is timed."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Iterator
from pathlib import Path

import attrs

from follow.outputs import find_alarm, fits
from follow.pages import PYTHON, TYPED, Block, Page, Typed, read_typed
from follow.programs import Program
from follow.terminals import Done, Terminal, find_uv

#: How the sentence begins about what has failed.
_FAILED = "Exit code"

#: The task of a clone that has been run already, for all pages.
BUILDS_WHEELS = "python3 dev.py wheels"

#: What ``fal-core new`` prints above the commands to go on with.
_GO_ON = "Run and test it:\n"

#: Commands and files that are outside of the folder, which nobody follows unasked.
OUTSIDE = "it changes this machine"
_PROGRAMS = "sudo|su|useradd|adduser|systemctl|journalctl|apt|apt-get|dnf|yum|brew|docker"
_OUTSIDE = re.compile(
    rf"(^|[;&|(]\s*)({_PROGRAMS})\s|(?<![\w.}}])/(opt|etc|usr|srv|var|root|home)/", re.MULTILINE
)

_NAMED = re.compile(r"\b([\w-]+\.py)::(\w+)")


@attrs.frozen(kw_only=True)
class Step:
    """
    A step of a page.

    Attributes:
        seconds: None if it was not taken.

        shows: Whether the page shows its output, or its code checks it.

        wrong: What is wrong: what the page has, and what came. Empty if nothing is.
    """

    line: int
    title: str
    seconds: float | None = None
    shows: bool = False
    reason: str = ""
    wrong: str = ""


@attrs.define
class Reader:
    """
    Follows *page* in *terminal*.

    Arguments:
        building: Seconds that the wheels have taken.

        quick: Whether uv does what the page has pip do.
    """

    page: Page
    terminal: Terminal
    building: float
    quick: bool = attrs.field(kw_only=True, default=False)
    _programs: dict[str, Program] = attrs.field(init=False, factory=dict)
    _said: str = attrs.field(init=False, default="")

    def follow(self) -> Iterator[Step]:
        """
        Yield each step once it is taken. The first that fails is the last; after one that
        only prints something else, the others follow.
        """
        try:
            for number, block in enumerate(self.page.blocks):
                for step in self._follow_block(number, block):
                    yield step
                    if step.wrong.startswith(_FAILED):
                        return
        finally:
            wrong = self._close()
        if wrong:
            yield Step(line=len(self.page.text.splitlines()), title="Ctrl-C", wrong=wrong)

    def _close(self) -> str:
        for program in self._programs.values():
            program.close()
        return self.terminal.close()

    def _follow_block(self, number: int, block: Block) -> Iterator[Step]:
        if block.reason:
            title = describe(block)
            yield Step(line=block.line, title=title, reason=block.reason)
            return
        if block.language not in (*TYPED, *PYTHON) and not block.file:
            return
        if block.language in (*TYPED, "python"):
            yield from self._change_environment(block)
        if block.file and not (self.terminal.directory / block.file).exists():
            yield self._save(block.file, block)
            if block.language not in (*TYPED, "python"):
                return
        if block.language == "py" and not block.file:
            wrong = "Nothing says which file this is, or why it is not followed."
            yield Step(line=block.line, title=describe(block), wrong=wrong)
        elif block.language in TYPED:
            for typed in read_typed(block):
                yield from self._save_named(number, typed)
                yield self._type(typed)
                for command in self._read_said():
                    yield self._type(Typed(typed.line, command, ()))
        elif block.language == "python":
            yield self._run(number, block)

    def _change_environment(self, block: Block) -> Iterator[Step]:
        """Go on in the environment of the extra that the section of *block* asks for."""
        started = time.monotonic()
        if self.terminal.use_environment(block.extra) and block.extra:
            # The page says that uv takes the same arguments, and it is quicker.
            found = "" if self.terminal.published else "--find-links dist "
            command = f"uv pip install {found}'fal-core[{block.extra}]'"
            done = self.terminal.type(command.replace("uv", shlex.quote(find_uv()), 1))
            yield Step(
                line=block.line,
                title=f"{command} (the section has the extra)",
                seconds=time.monotonic() - started,
                wrong=_find_wrong((), done),
            )

    def _save(self, name: str, block: Block) -> Step:
        if name.startswith("/") or ".." in name:
            return Step(line=block.line, title=f"save {name}", reason=OUTSIDE)
        file = self.terminal.directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block.text, "utf-8")
        return Step(line=block.line, title=f"save {name}", seconds=0.0)

    def _save_named(self, number: int, typed: Typed) -> Iterator[Step]:
        """Save the block above that declares what a command names, as in ``app.py::Reader``."""
        for file, name in _NAMED.findall(typed.command):
            declares = re.compile(rf"^(class|def|async def) {name}\b", re.MULTILINE)
            if (self.terminal.directory / file).exists() or f"`{file}`" not in self.page.text:
                continue
            above = [block for block in self.page.blocks[:number] if block.is_program]
            for block in reversed(above):
                if declares.search(block.text):
                    yield self._save(file, block)
                    break

    def _type(self, typed: Typed) -> Step:
        if typed.command == BUILDS_WHEELS:
            return Step(line=typed.line, title=typed.command, seconds=self.building)
        if _OUTSIDE.search(typed.command):
            return Step(line=typed.line, title=typed.command, reason=OUTSIDE)
        started = time.monotonic()
        command = typed.command
        if self.quick and command.startswith("pip install "):
            command = f"{shlex.quote(find_uv())} {command}"
        done = self.terminal.type(command)
        self._said = done.output
        return Step(
            line=typed.line,
            title=typed.command,
            seconds=time.monotonic() - started,
            shows=bool(typed.shown),
            wrong=_find_wrong(typed.shown, done),
        )

    def _read_said(self) -> list[str]:
        """Return the commands that a new project has printed, where it is what is followed."""
        if not self.page.is_project:
            return []
        _, _, after = self._said.partition(_GO_ON)
        return [line.strip() for line in after.splitlines() if line.startswith("  ")]

    def _run(self, number: int, block: Block) -> Step:
        program = self._programs.get(block.extra)
        if program is None:
            own = [
                each
                for each in self.page.blocks
                if each.is_program and each.extra == block.extra
            ]
            name = "_".join(["page", *filter(None, block.extra.split(","))])
            program = self._programs[block.extra] = Program(self.terminal, name, own)
        started = time.monotonic()
        done = program.run(block)
        seconds = time.monotonic() - started
        shown = self._shown_below(number, block) if done.output else ()
        wrong = _find_wrong(shown, done)
        if not wrong and done.output and not shown:
            wrong = _differ("nothing", done.output)
        shows = bool(shown) or "assert " in block.text
        title = describe(block)
        return Step(line=block.line, title=title, seconds=seconds, shows=shows, wrong=wrong)

    def _shown_below(self, number: int, block: Block) -> tuple[str, ...]:
        """
        Return what a page shows of what a block prints: a block of text, or comments at
        its end.
        """
        following = self.page.blocks[number + 1 : number + 2]
        if following and following[0].language == "text":
            return tuple(following[0].text.splitlines())
        shown: list[str] = []
        for line in reversed(block.text.splitlines()):
            if not line.startswith("# "):
                break
            shown.insert(0, line[2:])
        return tuple(shown)


def describe(block: Block) -> str:
    """Return a line for a block of code: its first definition, or its first line."""
    lines = block.text.splitlines()
    defined = [line for line in lines if line.startswith(("def ", "class ", "async def "))]
    return next(iter(defined or lines), "").rstrip(":")


def _find_wrong(shown: tuple[str, ...], done: Done) -> str:
    printed = (done.output, done.errors, done.output + done.errors)
    if shown:
        if not any(fits(shown, each) for each in printed):
            return _differ("\n".join(shown), done.output or done.errors)
        if done.code and fits(shown, done.output):
            return _fail(done)
        return ""
    if done.code:
        return _fail(done)
    if alarm := find_alarm(done.output + done.errors):
        return _differ("no warning", alarm)
    return ""


def _fail(done: Done) -> str:
    return f"{_FAILED} {done.code}: {(done.output + done.errors).strip()[-2000:]}"


def _differ(wanted: str, got: str) -> str:
    return f"Wanted: {wanted}\nGot: {got.strip()[-2000:]}"


def first_result(steps: list[Step]) -> tuple[float, list[Step]]:
    """
    Return the seconds from the first installation to the first result that the page
    shows, and the steps on that way. No steps where there is no such way.
    """
    way: list[Step] = []
    for step in steps:
        if way or "pip install" in step.title:
            way.append(step)
        if way and step.shows:
            return sum(each.seconds or 0.0 for each in way), way
    return 0.0, []


def follow(
    page: Page,
    wheels: Path,
    python: str,
    folder: Path,
    *,
    building: float,
    cold: bool = False,
    quick: bool = False,
) -> Iterator[Step]:
    """Follow *page* in a new terminal below *folder*; yield its steps."""
    published = page.name != "README.md"
    terminal = Terminal(folder, wheels, python, published=published, cold=cold)
    yield from Reader(page, terminal, building, quick=quick).follow()
