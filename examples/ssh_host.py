"""
A host that runs calls on another machine, over ``ssh``.

It needs nothing there but a Python: the worker and the function travel to it.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import threading
from collections.abc import Iterable
from concurrent.futures import Future
from typing import Any, ClassVar

import attrs

from fal_core.calls import Call
from fal_core.errors import HostClosed, HostError, OptionError, WorkerLost
from fal_core.events import Sink
from fal_core.hooks import hookimpl
from fal_core.hosts import Capabilities, Execution, Host
from fal_core.workers import ARGUMENTS, Worker

#: What ssh exits with where it failed itself.
SSH_FAILED = 255


@attrs.define(eq=False, slots=False)
class SshHost(Host[..., Any]):
    """
    Another machine: each call has a Python of its own there.

    Attributes:
        address: As ssh takes it, as in ``user@machine``.

        python: The Python to start there.

        arguments: What else ssh is given, as in ``("-p", "2222")``.
    """

    name: ClassVar[str] = "ssh"
    capabilities: ClassVar[Capabilities] = Capabilities.of_workers(
        kinds=frozenset({"current"}), concurrency=8
    )

    address: str
    python: str = "python3"
    arguments: tuple[str, ...] = ()
    _processes: set[subprocess.Popen[bytes]] = attrs.field(factory=set, init=False, repr=False)

    @classmethod
    def from_url(cls, url: str) -> SshHost:
        """
        Return the host of an address, as in ``ssh://user@machine``.
        """
        _, _, address = url.partition("://")
        if not address:
            raise OptionError(f"{url!r} names no machine. Write 'ssh://user@machine'.")
        return cls(address)

    def launch(self, call: Call, sink: Sink) -> Execution:
        stdin, writer = os.pipe()
        reader, stdout = os.pipe()
        process = self._start(stdin, stdout)
        ended: Future[tuple[int, str]] = Future()
        threading.Thread(target=self._wait, args=(process, ended), daemon=True).start()

        def lost() -> HostError:
            code, said = ended.result()
            if code == SSH_FAILED:
                return HostClosed(self.name, said or "The connection broke.")
            # As a shell, a worker's guard tells a signal by 128 and its number.
            return WorkerLost(code, code - 128 if code > 128 else None, said)

        try:
            worker = Worker(reader, writer, lost=lost, kill=process.kill, idle=Worker.stop)
            return worker.launch(call, sink)
        except ConnectionError as error:
            os.close(reader)
            os.close(writer)
            raise lost() from error

    def close(self) -> None:
        """
        End the calls that run here.
        """
        for process in tuple(self._processes):
            process.kill()

    def _start(self, stdin: int, stdout: int) -> subprocess.Popen[bytes]:
        there = shlex.join((self.python, *ARGUMENTS))
        process = subprocess.Popen(
            ("ssh", "-T", "-o", "BatchMode=yes", *self.arguments, self.address, there),
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
        )
        os.close(stdin)
        os.close(stdout)
        self._processes.add(process)
        return process

    def _wait(self, process: subprocess.Popen[bytes], ended: Future[tuple[int, str]]) -> None:
        _, said = process.communicate()
        self._processes.discard(process)
        ended.set_result((process.returncode, said.decode(errors="replace").strip()))


fal_core_api = 1


@hookimpl
def fal_register_hosts() -> Iterable[type[Host[..., Any]]]:
    """
    Register the host ``ssh``.
    """
    return [SshHost]
