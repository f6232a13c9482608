"""Commands: the processes that interpreters start, seen from outside."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fal_core.environments import Command

#: Starts a command with one more descriptor, at the number that the command line says.
_GIVE = (
    "import os, sys; given, number = map(int, sys.argv[1:3]); "
    "os.set_inheritable(os.dup2(given, number), True); os.execvp(sys.argv[3], sys.argv[3:])"
)


@contextmanager
def started(
    command: Command, *, given: int | None = None, number: int = 3
) -> Iterator[subprocess.Popen[str]]:
    """
    Yield the process of *command*, whose standard output is a pipe; it ends with the context.

    Arguments:
        given: A descriptor that it is given. None for no other than the standard ones.

        number: The number that the descriptor has there.
    """
    argv = command.argv
    passed: tuple[int, ...] = ()
    if given is not None:
        argv = (sys.executable, "-I", "-S", "-c", _GIVE, str(given), str(number), *argv)
        passed = (given,)
    with subprocess.Popen(
        argv,
        env={**os.environ, **command.variables},
        cwd=command.directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        pass_fds=passed,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            stop(command)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def run(command: Command, timeout: float, *, given: int | None = None, number: int = 3) -> str:
    """
    Return what the process of *command* prints, without white space around it.

    Raises:
        AssertionError: It has not ended after *timeout* seconds.
    """
    with started(command, given=given, number=number) as process:
        try:
            printed, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"A process that has only to print something had not ended after {timeout:g} s."
            ) from None
        return printed.strip()


def stop(command: Command) -> None:
    """Run what ends the process of *command*, if there is such a command."""
    if command.stop_argv is not None:
        subprocess.run(
            command.stop_argv,
            env={**os.environ, **command.variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
        )


def is_locked(path: Path) -> bool:
    """Tell whether a process has locked the file *path*."""
    with path.open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False
