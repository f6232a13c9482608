"""Agents of nodes, as the process that has started them sees them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import IO, Any

from fal_core.errors import Cancelled, HostError, WorkerLost
from fal_core.workers import given_to_children

#: Seconds that an agent may take to take what it is told, and to end all that it has started.
PATIENCE = 30.0
#: Seconds that an agent may take to answer while it comes up, and characters of an answer that
#: are in an error.
_ANSWER, _SHOWN = 120.0, 200
#: Bytes of the errors of an agent that are kept.
_SAID = 4096
#: Seconds between two looks whether a worker is wanted.
_TURN = 0.1


class AgentProcess:
    """
    The agent of a node, as the process that has started it sees it.

    Arguments:
        node: The node, as messages name it.

        command: Starts it.

        told: What it is told first.

        archive: The path of its code.

    Attributes:
        gone: Is set once it has ended.
    """

    def __init__(
        self, node: str, command: Sequence[str], told: Mapping[str, Any], archive: str
    ) -> None:
        self.node: str = node
        self.gone: threading.Event = threading.Event()
        self._said = b""
        self._why = ""
        self._facts: dict[str, Any] | None = None
        self._is_up = threading.Event()
        self._writing = threading.Lock()
        # A pipe would have no time limit, and could not be closed while it is written to.
        self._input, there = socket.socketpair()
        self._input.settimeout(PATIENCE)
        try:
            with there:
                self._process = subprocess.Popen(
                    given_to_children(command),
                    stdin=there.fileno(),
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    # Ctrl-C is for the caller, who cancels what it wants to end.
                    start_new_session=True,
                )
        except BaseException as error:
            self._input.close()
            if isinstance(error, OSError):
                raise HostError(f"{command[0]!r} cannot be started: {error}.") from error
            raise
        self._listening = _start_thread(self._listen)
        _start_thread(partial(self._run, told, archive))

    def await_facts(self, cancelled: threading.Event) -> dict[str, Any]:
        """
        Wait until the agent is up, and return where it listens.

        Raises:
            HostError: It has ended instead.

            Cancelled: *cancelled* was set.
        """
        while not self._is_up.wait(_TURN):
            if cancelled.is_set():
                raise Cancelled
        if self._facts is None:
            raise self.problem()
        return self._facts

    def tell(self, request: Mapping[str, Any]) -> None:
        """
        Ask for a worker, or for the end of one.

        Raises:
            HostError: It has ended.
        """
        try:
            self._write(request)
        except OSError as error:
            self.gone.wait(_TURN)
            raise self.problem() from error

    def problem(self) -> HostError:
        """Return why the agent has ended."""
        said = self._why or " ".join(self._said.decode(errors="replace").split())
        return WorkerLost(
            detail=f"The agent of node {self.node} has ended: {said or 'it said nothing'}."
        )

    def begin_end(self) -> None:
        """Have it end, and all that it has started."""
        with suppress(OSError):
            self._input.shutdown(socket.SHUT_WR)

    def await_end(self, seconds: float) -> None:
        """Wait for its end, and kill what has started it where that takes longer."""
        if not self.gone.wait(seconds):
            self._kill()
            self.gone.wait(seconds)

    def abandon(self) -> None:
        """Let go of the agent in a forked child: it belongs to the parent, and ends with it."""
        self._input.close()
        with open(os.devnull, "r+b", buffering=0) as nothing:
            for pipe in (self._process.stdout, self._process.stderr):
                # It is not closed: a thread of the parent may have held its lock at the fork.
                if pipe is not None and not pipe.closed:
                    os.dup2(nothing.fileno(), pipe.fileno())

    def _write(self, line: Mapping[str, Any], archive: IO[bytes] | None = None) -> None:
        with self._writing:
            try:
                self._input.sendall(json.dumps(line).encode() + b"\n")
                if archive is not None:
                    self._input.sendfile(archive)
            except TimeoutError:
                self._kill(f"it took nothing for {PATIENCE:g} s")
                raise

    def _read_answer(self, output: IO[bytes], **types: type) -> dict[str, Any]:
        """
        Return the next line, which has to come in time and to have facts of these *types*.

        Raises:
            OSError: There is none.
        """
        timer = threading.Timer(
            _ANSWER, self._kill, (f"it did not answer within {_ANSWER:g} s",)
        )
        timer.daemon = True
        timer.start()
        try:
            line = output.readline(_SAID)
        finally:
            timer.cancel()
        with suppress(RecursionError, ValueError):
            facts = json.loads(line)
            if isinstance(facts, dict) and all(
                isinstance(facts.get(name), each) for name, each in types.items()
            ):
                return facts
        if line:
            self._kill(f"it answered {line[:_SHOWN].decode(errors='replace')!r}")
        raise BrokenPipeError("It did not answer.")

    def _run(self, told: Mapping[str, Any], archive: str) -> None:
        output: IO[bytes] | None = self._process.stdout
        assert output is not None
        with output:
            with suppress(OSError):
                self._write(told)
                if not self._read_answer(output, has=bool)["has"]:
                    with open(archive, "rb") as code:
                        self._write({"size": os.fstat(code.fileno()).st_size}, code)
                self._facts = self._read_answer(output, port=int, local_name=str)
                self._is_up.set()
                # It says nothing more.
                output.read(1)
            self.begin_end()
            try:
                self._process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self._kill()
        self._process.wait()
        with self._writing:
            self._input.close()
        self._listening.join(_TURN)
        self.gone.set()
        self._is_up.set()

    def _kill(self, why: str = "") -> None:
        """Kill what has started it, and what that has started here."""
        self._why = self._why or why
        if self._process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _listen(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as errors, suppress(OSError, ValueError):
            for line in iter(lambda: errors.readline(_SAID), b""):
                self._said = (self._said + line)[-_SAID:]


class AgentPlace:
    """The place of a worker: one of those that an agent has."""

    def __init__(self, agent: AgentProcess, token: str) -> None:
        self._agent = agent
        self._token = token
        self.node: str = agent.node

    def end(self) -> None:
        """End the worker, by what has started the agent."""
        with suppress(HostError):
            self._agent.tell({"end": self._token})

    def release(self) -> None:
        """End the worker, if it is there after all."""
        self.end()

    def why_lost(self, seconds: float) -> HostError | None:
        """Return why the agent has ended; None where it has not."""
        return self._agent.problem() if self._agent.gone.wait(seconds) else None


def _start_thread(target: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=target, name="fal-core node", daemon=True)
    thread.start()
    return thread
