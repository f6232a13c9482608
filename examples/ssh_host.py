"""
A host that runs calls on another machine, over ``ssh``.

It needs nothing there but a Python: the worker travels over the stream, and so
does the function. ``docs/write-a-host.md`` goes through it line by line.
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
from fal_core.hooks import API_VERSION, hookimpl
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
    capabilities: ClassVar[Capabilities] = Capabilities(
        kinds=frozenset({"current"}), options=frozenset({"setup_function"}), concurrency=8
    )

    address: str
    python: str = "python3"
    arguments: tuple[str, ...] = ()
    _workers: set[Worker] = attrs.field(factory=set, init=False, repr=False)

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
        process = self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        ended: Future[tuple[int, str]] = Future()

        def lost() -> HostError:
            code, said = ended.result()
            if code == SSH_FAILED and worker.hello is None:
                return HostClosed(self.name, said or "ssh could not connect.")
            return WorkerLost(code=code, detail=said)

        worker = Worker(
            # The worker owns its descriptors, and the process keeps none of them.
            os.dup(process.stdout.fileno()),
            os.dup(process.stdin.fileno()),
            lost=lost,
            kill=process.kill,
            idle=Worker.stop,
        )
        process.stdout.close()
        process.stdin.close()
        self._workers.add(worker)
        threading.Thread(target=self._wait, args=(worker, process, ended), daemon=True).start()
        return worker.launch(call, sink)

    def close(self) -> None:
        """
        End the calls that run here.
        """
        for worker in tuple(self._workers):
            worker.kill()

    def _start(self) -> subprocess.Popen[bytes]:
        there = shlex.join((self.python, *ARGUMENTS))
        return subprocess.Popen(
            ("ssh", "-T", "-o", "BatchMode=yes", *self.arguments, self.address, there),
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def _wait(
        self, worker: Worker, process: subprocess.Popen[bytes], ended: Future[tuple[int, str]]
    ) -> None:
        with process:
            assert process.stderr is not None
            said = process.stderr.read().decode(errors="replace").strip()
        ended.set_result((process.returncode, said))
        self._workers.discard(worker)


fal_core_api = API_VERSION


@hookimpl
def fal_register_hosts() -> Iterable[type[Host[..., Any]]]:
    """
    Register the host ``ssh``.
    """
    return [SshHost]
