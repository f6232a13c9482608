"""
Places: where an application listens, and a network of its own where it insists on a
port that another has.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable

from fal_core_worker.serving import networks
from fal_core_worker.serving.ports import claim, free_port, holder, is_free, listens
from fal_server_agent import outcomes


class PortTaken(Exception):
    """
    Another has the port that an application insists on; the argument says who.
    """


class Place:
    """
    Where an application listens.

    Attributes:
        port: The port of this machine that leads to it.
    """

    def __init__(self, port: int) -> None:
        self.port = port

    def is_open(self) -> bool:
        """
        Tell whether it is worth asking who is there.
        """
        return True

    def end(self) -> None:
        """
        Tell what runs there to end, where that does not hear of it by itself.
        """


class Apart(Place):
    """
    A place in a network of its own, which a forked child has.
    """

    def __init__(self, inner: int) -> None:
        super().__init__(free_port())
        self._inner = inner
        self._pid = 0

    def is_open(self) -> bool:
        # The port of this machine is open before anybody listens behind it.
        return bool(self._pid) and listens(self._pid, self._inner)

    def end(self, number: int = signal.SIGTERM) -> None:
        if self._pid:
            os.kill(self._pid, number)

    async def run(self, work: Callable[[], bytes]) -> bytes:
        """
        Return the message that *work* returns there.
        """
        answer = os.memfd_create("answer")
        left, went = os.pipe()
        go, gone = os.pipe()
        self._pid = os.fork()
        if not self._pid:
            os.close(gone)
            _live_apart(work, answer, went, go)
        os.close(went)
        os.close(go)
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(None, self._follow, answer, left, gone)
        finally:
            # Whoever is cancelled leaves nobody behind.
            self.end(signal.SIGKILL)

    def _follow(self, answer: int, left: int, gone: int) -> bytes:
        """
        Connect the child's network once it has one, and wait until it has ended.
        """
        pid, problem = self._pid, ""
        if not os.read(left, 1):
            problem = "A network of its own cannot be made."
        elif networks.join(
            shutil.which("pasta") or "pasta", pid, str(self.port), str(self._inner)
        ):
            problem = "A network of its own was made, and pasta does not connect it."
        else:
            os.write(gone, b"\0")
        os.close(gone)
        os.close(left)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        self._pid = 0
        status = os.waitpid(pid, 0)[1]
        with open(answer, "rb") as file:
            file.seek(0)
            message = file.read()
        if message:
            return message
        return outcomes.failed(problem or f"It has ended: {_how(status)}.")


def find_place(port: int, name: str, reference: str) -> Place:
    """
    Return where the application *name* can have *port*.

    It is claimed for as long as this process lives.

    Raises:
        PortTaken: It is taken, and there are no networks of one's own.
    """
    lock = claim(port, name, reference)
    if lock is not None:
        if is_free(port):
            return Place(port)
        os.close(lock)
    reason = networks.missing()
    if reason:
        who = holder(port, claimed=lock is None)
        raise PortTaken(
            f"Port {port} is taken by {who}. End that first, or have it listen on the "
            f"port that it is told as exposed_port. {reason}"
        )
    return Apart(port)


def _live_apart(work: Callable[[], bytes], answer: int, went: int, go: int) -> None:
    """
    Be the child: leave the network, wait until the own one is connected, and work.
    """
    try:
        # The signals and the loop of before are the parent's.
        signal.set_wakeup_fd(-1)
        # One that has no handler would be ended at once, with the requests it has.
        signal.signal(signal.SIGTERM, lambda *_: None)
        asyncio._set_running_loop(None)
        networks.leave()
        os.write(went, b"\0")
        if os.read(go, 1):
            with open(answer, "wb") as file:
                file.write(work())
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)


def _how(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"by signal {-code}" if code < 0 else f"with code {code}"
