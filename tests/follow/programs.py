"""Programs: the Python blocks of a page as one file, which runs block by block."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import attrs

from follow.pages import Block
from follow.terminals import Done, Terminal, wait_for

#: The module that stands between two blocks: it says that one has ended, and waits.
_GATE = """\
import os
import sys
import time


def wait(line):
    sys.stdout.flush()
    place = os.path.join(os.environ["FOLLOW"], f"block-{line}-")
    with open(place + "ended", "w"):
        pass
    while not os.path.exists(place + "passed"):
        time.sleep(0.01)
"""


@attrs.define
class Program:
    """
    The program of *blocks*, whose lines have the numbers that they have in the page.

    It is a file, as its reader has it, with one more line below each block but the last.
    """

    terminal: Terminal
    name: str
    blocks: Sequence[Block]
    _process: subprocess.Popen[bytes] | None = attrs.field(init=False, default=None)
    _ended: Block | None = attrs.field(init=False, default=None)
    _seen: dict[str, int] = attrs.field(init=False, factory=dict)

    def run(self, block: Block) -> Done:
        """
        Run the program from the end of the block before to that of *block*.

        After the last one the program ends; its exit code is that of this block.
        """
        if self._process is None:
            self._process = self._begin()
        elif self._ended is not None:
            (self.terminal.folder / f"block-{self._ended.line}-passed").touch()
        self._ended = block
        reached = self.terminal.folder / f"block-{block.line}-ended"
        for _ in wait_for(self._process):
            if reached.exists():
                break
        code = self._process.poll()
        if code == 0 and block is not self.blocks[-1]:
            return Done(1, self._read("out"), "The program ended before its last block.")
        return Done(code, self._read("out"), self._read("err"))

    def _begin(self) -> subprocess.Popen[bytes]:
        lines: list[str] = []
        for block in self.blocks:
            lines += [""] * (block.line - 1 - len(lines))
            lines += block.text.splitlines()
            if block is not self.blocks[-1]:
                lines.append(f"__import__('page_gate').wait({block.line})")
        directory = self.terminal.directory
        file = directory / f"{self.name}.py"
        file.write_text("\n".join(lines) + "\n", "utf-8")
        (directory / "page_gate.py").write_text(_GATE, "utf-8")
        with self._file("out").open("wb") as out, self._file("err").open("wb") as err:
            return subprocess.Popen(
                ["python", "-W", "error", file.name],
                cwd=directory,
                env=self.terminal.variables,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    def _file(self, which: str) -> Path:
        return self.terminal.folder / f"{self.name}.{which}put"

    def _read(self, which: str) -> str:
        """Return what was printed since the last time."""
        printed = self._file(which).read_bytes()
        new = printed[self._seen.get(which, 0) :]
        self._seen[which] = len(printed)
        return new.decode("utf-8", "replace")

    def close(self) -> None:
        """End the program, if one of its blocks was the last that was followed."""
        if self._process is not None and self._process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGINT)
            for _ in wait_for(self._process):
                pass
