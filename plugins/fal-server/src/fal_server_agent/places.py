"""
Places: where an application listens.

An application that insists on a port that is taken gets a network namespace of its own.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable

from fal_core_worker.archives import ForeignCache
from fal_core_worker.serving import networks
from fal_core_worker.serving.ports import PortHeld, claim, free_port, listens
from fal_server_agent import outcomes


class PortUnavailable(Exception):
    """
    The port that an application insists on is taken; the argument says by whom.
    """


class Place:
    """
    Where an application listens.

    Attributes:
        port: The port of this machine at which it is reached.
    """

    def __init__(self, port: int) -> None:
        self.port = port

    def is_open(self) -> bool:
        """
        Tell whether it is worth trying to connect.
        """
        return True

    def end(self) -> None:
        """
        Tell the process there to end, if it does not get the signals of this one.
        """


class Apart(Place):
    """
    A place in the network namespace of a forked child process.
    """

    def __init__(self, inner: int) -> None:
        super().__init__(free_port())
        self._inner = inner
        self._pid = 0

    def is_open(self) -> bool:
        # The port of this machine is open before the application listens behind it.
        return bool(self._pid) and listens(self._pid, self._inner)

    def end(self, number: int = signal.SIGTERM) -> None:
        if self._pid:
            os.kill(self._pid, number)

    async def run(self, work: Callable[[], bytes]) -> bytes:
        """
        Run *work* in the child process, and return the message that it returns.
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
            # A cancelled call leaves no child process behind.
            self.end(signal.SIGKILL)

    def _follow(self, answer: int, left: int, gone: int) -> bytes:
        """
        Connect the network of the child once it has one, and wait until the child ends.
        """
        pid, problem = self._pid, ""
        if not os.read(left, 1):
            problem = "A network namespace for it cannot be made."
        elif networks.join(
            shutil.which("pasta") or "pasta", pid, str(self.port), str(self._inner)
        ):
            problem = "Its network namespace was made, but pasta cannot connect it."
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
    Return where the application *name* can listen on *port*.

    The port is claimed for as long as this process lives.

    Raises:
        PortUnavailable: It is taken, and there are no network namespaces.
    """
    try:
        claim(port, name, reference)
        return Place(port)
    except ForeignCache as error:
        raise PortUnavailable(str(error)) from None
    except PortHeld as held:
        reason = networks.missing()
        if reason:
            raise PortUnavailable(
                f"Port {port} is taken by {held}. End that first, or let the application "
                f"listen on the port that it gets as exposed_port. {reason}"
            ) from None
    return Apart(port)


def _live_apart(work: Callable[[], bytes], answer: int, went: int, go: int) -> None:
    """
    Run the child process: enter a network namespace, wait until it is connected, and
    do *work*.
    """
    try:
        # Signals would wake the event loop of the parent.
        signal.set_wakeup_fd(-1)
        # Without a handler the signal would end it at once, in the middle of requests.
        signal.signal(signal.SIGTERM, lambda *_: None)
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
