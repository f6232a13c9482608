"""The process that rattler runs in, seen from who asks it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from select import POLLIN, poll
from threading import Event
from typing import Any

import attrs

from fal_core.errors import Cancelled
from fal_core.stores import read_lines
from fal_core.workers import given_to_children

_CHILD = os.path.join(os.path.dirname(os.path.abspath(__file__)), "child.py")

#: Bytes of the longest answer: a line with all packages of an environment.
_LONGEST = 256 << 20


class RattlerError(Exception):
    """
    What rattler says about a request that failed.

    Attributes:
        name: The name of rattler's class of the error.

        message: What it says, which may have several lines.
    """

    def __init__(self, name: str, message: str) -> None:
        super().__init__(name, message)
        self.name = name
        self.message = message

    def __str__(self) -> str:
        return self.message


def ignore(line: str) -> None:
    """Do nothing about a line that is printed."""


@attrs.define(eq=False)
class Rattler:
    """
    Rattler in a process of its own, which is started by the first request.

    Leaving the context kills the process, and what it has started.

    Attributes:
        cancelled: Set once no answer is wanted any more.

        on_line: Takes what is printed meanwhile, line by line.
    """

    cancelled: Event = attrs.field(factory=Event)
    on_line: Callable[[str], None] = ignore
    _process: subprocess.Popen[bytes] | None = attrs.field(init=False, default=None)
    _workspace: str = attrs.field(init=False, default="")

    def __enter__(self) -> Rattler:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, request: str, **arguments: object) -> Any:
        """
        Return rattler's answer to *request*.

        Raises:
            RattlerError: Rattler refused, or its process ended.

            Cancelled: *cancelled* was set, or this process ends.
        """
        process = self._process or self._start()
        assert process.stdin is not None
        line = json.dumps({"ask": request, **arguments}).encode() + b"\n"
        try:
            process.stdin.write(line)
            process.stdin.flush()
        except BrokenPipeError:
            pass  # It has ended, and how is found below.
        printed: list[str] = []
        try:
            for told in self._lines(process, printed):
                if "line" in told:
                    self.on_line(told["line"])
                    continue
                self._read_printed(process)
                if "error" in told:
                    raise RattlerError(told["error"], told["message"])
                return told["answer"]
        except Cancelled:
            self.close()
            raise
        code = process.wait()
        self.close()
        how = f"signal {-code}" if code < 0 else f"code {code}"
        said = "".join(f"\n{each}" for each in printed[-10:])
        raise RattlerError("Ended", f"The process of rattler ended with {how}.{said}")

    def close(self) -> None:
        """Kill the process and what it has started."""
        process, self._process = self._process, None
        workspace, self._workspace = self._workspace, ""
        if process is not None:
            self._kill(process)
        if workspace:
            shutil.rmtree(workspace, ignore_errors=True)

    def _kill(self, process: subprocess.Popen[bytes]) -> None:
        if process.returncode is None:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                # It may hold a request that the process did not take any more.
                with suppress(BrokenPipeError):
                    stream.close()

    def _start(self) -> subprocess.Popen[bytes]:
        from importlib.util import find_spec

        found = find_spec("rattler")
        if found is None or found.origin is None:
            raise RattlerError("Missing", "py-rattler is not installed.")
        folder = os.path.dirname(os.path.dirname(found.origin))
        workspace = self._workspace = tempfile.mkdtemp(prefix="fal-core-rattler-")
        command = [sys.executable, "-I", "-S", "-X", "utf8", _CHILD, workspace, folder]
        self._process = subprocess.Popen(
            given_to_children(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        return self._process

    def _lines(
        self, process: subprocess.Popen[bytes], printed: list[str]
    ) -> Iterator[dict[str, Any]]:
        """Yield what *process* tells until it ends; what it prints is logged and kept."""
        assert process.stdout is not None
        assert process.stderr is not None
        told = process.stdout.fileno()
        for descriptor, line in read_lines(
            told,
            process.stderr.fileno(),
            cancelled=self.cancelled,
            has_ended=lambda: process.poll() is not None,
            longest=_LONGEST,
        ):
            if descriptor != told:
                if line:
                    printed.append(line)
                    self.on_line(line)
                continue
            try:
                message = json.loads(line)
            except ValueError:
                continue  # It was killed while it wrote the line.
            yield message

    def _read_printed(self, process: subprocess.Popen[bytes]) -> None:
        """Tell what was printed before an answer that came sooner, on a stream of its own."""
        assert process.stderr is not None
        printed = process.stderr.fileno()
        watched = poll()
        watched.register(printed, POLLIN)
        while watched.poll(0):
            block = os.read(printed, 1 << 16)
            if not block:
                break
            for line in filter(None, block.decode(errors="replace").splitlines()):
                self.on_line(line)
