"""Workers in processes of this machine, as ``ssh`` and ``srun`` are as well."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from typing import IO

from fal_core.environments import Command
from fal_core.errors import HostError
from fal_core.sinks.event_thread import get_event_thread
from fal_core.workers.open_files import given_to_children
from fal_core.workers.stopping import StoppableWorker, reason_of_exit

#: Bytes: so much of what a process has printed last is in the error.
_SAID = 4096
#: Bytes of a line of standard error that is passed on.
_LONGEST_LINE = 8192
#: Seconds that a process may take to end once its worker has, or once it was told to.
_PATIENCE = 10.0
#: Seconds that a process which has ended is listened to: its children may have its output.
_LAST_WORDS = 0.2


def start_process(
    command: Command | Sequence[str], directory: str | None
) -> subprocess.Popen[bytes]:
    """
    Start *command* with pipes, and return its process.

    The thread that starts it lives as long as it does: a program that asks the system for a
    signal at the death of its parent gets it once this process ends, and not before.

    Raises:
        HostError: The program cannot be started.
    """
    started: Future[subprocess.Popen[bytes]] = Future()

    def start() -> None:
        try:
            process = _open_process(command, directory)
        except BaseException as error:
            started.set_exception(error)
        else:
            started.set_result(process)
            # Another thread takes its exit code.
            with suppress(AttributeError, ChildProcessError):
                os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)

    threading.Thread(target=start, name="fal-core process", daemon=True).start()
    return started.result()


def _open_process(
    command: Command | Sequence[str], directory: str | None
) -> subprocess.Popen[bytes]:
    variables = None
    if isinstance(command, Command):
        directory = command.directory or directory
        variables, command = _variables_of(command), command.argv
    try:
        return subprocess.Popen(
            given_to_children(command),
            env=variables,
            cwd=directory,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # Ctrl-C is for the caller, who cancels what it wants to end.
            start_new_session=True,
        )
    except OSError as error:
        raise HostError(f"{command[0]!r} cannot be started: {error}.") from error


def _variables_of(command: Command) -> dict[str, str]:
    return {**os.environ, **command.variables}


class WatchedProcess:
    """The process of a worker, and the thread that waits for its end."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        explain: Callable[[int, str], HostError | None] | None,
        command: Command | None,
    ) -> None:
        self._process = process
        self._command = command
        # The host knows more of it than the code that made the command.
        self._explains = [explain, None if command is None else command.explain]
        self._said = b""
        self._ended: Future[int] = Future()

    def take_pipes(self) -> tuple[int, int]:
        """
        Return descriptors to read from and write to the process, which keeps none.

        Raises:
            ValueError: It has no pipes.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise ValueError(
                "A worker is spoken to over pipes. Start its process with "
                "stdin=subprocess.PIPE and stdout=subprocess.PIPE."
            )
        with stdin, stdout:
            return os.dup(stdout.fileno()), os.dup(stdin.fileno())

    def watch(self, worker: StoppableWorker, say: Callable[[str], None]) -> None:
        """Begin to wait for the end, and to read standard error, whose lines go to *say*."""
        threading.Thread(
            target=self._watch, args=(worker, say), name="fal-core worker", daemon=True
        ).start()

    def why_lost(self) -> HostError:
        """
        Wait for the end of the process, and return why the worker was lost; an error that
        the host's ``explain`` raises is passed on.
        """
        try:
            code = self._ended.result(_PATIENCE)
        except FutureTimeout:
            self._send(signal.SIGKILL)
            code = self._ended.result()
        said = self._said.decode(errors="replace").strip()
        for explain in self._explains:
            reason: object = None if explain is None else explain(code, said)
            if not (reason is None or isinstance(reason, HostError)):
                raise TypeError(f"explain() returned {reason!r}, and no HostError.")
            if reason is not None:
                return reason
        return reason_of_exit(code, said)

    def wait(self, timeout: float) -> bool:
        """Wait for the end of the process; return False after *timeout* seconds."""
        try:
            self._ended.result(timeout)
        except FutureTimeout:
            return False
        return True

    def kill(self) -> None:
        """End the process, at the latest after some seconds."""
        if self._ended.done():
            return
        if self._command is not None and self._command.stop_argv is not None:
            threading.Thread(target=self._stop, name="fal-core stop", daemon=True).start()
        # The guard of the worker ends all that was started there.
        self._send(signal.SIGTERM)
        get_event_thread().after(_PATIENCE, lambda: self._send(signal.SIGKILL))

    def _send(self, number: signal.Signals) -> None:
        """
        Send a signal to the process, and to its group if it leads one: a command around the
        worker's Python may pass no signal on.
        """
        if self._process.poll() is not None:
            return
        with suppress(ProcessLookupError, PermissionError):
            if os.getpgid(self._process.pid) == self._process.pid:
                os.killpg(self._process.pid, number)
        self._process.send_signal(number)

    def _stop(self) -> None:
        self._run_stop()
        if not self.wait(_PATIENCE):
            self._send(signal.SIGKILL)
            # It may have been about to start what it was told to end.
            self._run_stop()

    def _run_stop(self) -> bool:
        """Run the command that ends the process, and return whether it has succeeded."""
        command = self._command
        assert command is not None
        assert command.stop_argv is not None
        try:
            done = subprocess.run(
                command.stop_argv,
                env=_variables_of(command),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=_PATIENCE,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            # The process is killed.
            return False
        return done.returncode == 0

    def _watch(self, worker: StoppableWorker, say: Callable[[str], None]) -> None:
        try:
            if self._process.stderr is not None:
                self._listen(self._process.stderr, say)
            code = self._process.wait()
            if code and self._command is not None and self._command.stop_argv is not None:
                # It may have been ended alone, and have left what it has started.
                self._run_stop() or self._run_stop()
        finally:
            self._ended.set_result(self._process.returncode)
        # A worker with a call has lines left to be read; it closes once they are. What has
        # been started beside it may go on to hold its output.
        if worker.executions:
            get_event_thread().after(_PATIENCE, worker.close)
        else:
            worker.close()

    def _listen(self, output: IO[bytes], say: Callable[[str], None]) -> None:
        """Read standard error until the process has ended."""
        line = b""
        with output, _Ending(self._process) as ending:
            while ending.wait_for(output):
                part = os.read(output.fileno(), 65536)
                if not part:
                    break
                self._said = (self._said + part)[-_SAID:]
                *lines, line = (line + part).split(b"\n")
                for each in lines:
                    say(_shown(each))
                if len(line) > _LONGEST_LINE:
                    # The rest of it is not kept until it ends.
                    line = line[: _LONGEST_LINE + 1]
            if line:
                say(_shown(line))


def _shown(line: bytes) -> str:
    """Return a line as it is passed on, which is cut where it is too long."""
    text = line[:_LONGEST_LINE].decode(errors="replace").rstrip("\r")
    return text if len(line) <= _LONGEST_LINE else f"{text} ... (cut)"


class _Ending:
    """Waits for output of a process, or its end."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._descriptor = -1

    def __enter__(self) -> _Ending:
        # Without it the end is looked for now and then.
        open_process = getattr(os, "pidfd_open", None)
        if open_process is not None:
            try:
                self._descriptor = open_process(self._process.pid)
            except OSError:
                pass
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def wait_for(self, output: IO[bytes]) -> bool:
        """Return whether *output* can be read; False once the process has ended."""
        poll = select.poll()
        poll.register(output, select.POLLIN)
        if self._descriptor >= 0:
            poll.register(self._descriptor, select.POLLIN)
        while True:
            ready = dict(poll.poll(None if self._descriptor >= 0 else _LAST_WORDS * 1000))
            if output.fileno() in ready:
                return True
            if self._process.poll() is not None:
                # Children of the process may go on writing; that is not waited for.
                last = select.poll()
                last.register(output, select.POLLIN)
                return bool(last.poll(_LAST_WORDS * 1000))
