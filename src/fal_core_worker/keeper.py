"""
The keeper: the process that starts workers and ends what they leave behind.

One runs beside each process that launches workers. It inherits the orphans of
workers that have ended, and ends them. When the launching process ends, however
it ends, the keeper ends every worker with all it has started, and then itself.

A request is a marshalled tuple behind its length, with the descriptors that the
worker inherits beside it; an answer is three numbers, see :data:`ANSWER`.

No worker can be started before the keeper has been, so it imports what it cannot do
without: ``signal`` and ``array`` of the standard library take twice as long as the
interpreter itself.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # known to no type checker
import _socket
import marshal
import os
import select
import struct
import time

from fal_core_worker.running import trees

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: What happened (STARTED or EXITED), the number of the worker, and its process
#: or its wait status.
ANSWER = struct.Struct("<III")
STARTED = 1
EXITED = 2

START = 1
KILL = 2

LENGTH = struct.Struct("<I")
_DESCRIPTOR = struct.Struct("i")
MOST_DESCRIPTORS = 8

#: Seconds that workers have to end of their own accord when their client is gone.
_GRACE = 0.5
#: Seconds between two looks at which of them have.
_TURN = 0.01


class Keeper:
    """
    The workers of one client.
    """

    def __init__(self, control: _socket.socket) -> None:
        self._control = control
        self._workers: dict[int, int] = {}
        self._wake, writer = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def run(self) -> None:
        """
        Start and watch workers until the client is gone.
        """
        poll = select.poll()
        poll.register(self._control.fileno(), select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        while True:
            for descriptor, _ in poll.poll():
                if descriptor == self._wake:
                    os.read(self._wake, 4096)
                    self._reap()
                elif not self._answer():
                    self._end()
                    return

    def _answer(self) -> bool:
        """
        Take one request; return False when the client is gone.
        """
        room = _socket.CMSG_SPACE(_DESCRIPTOR.size * MOST_DESCRIPTORS)
        try:
            data, ancillary, _, _ = self._control.recvmsg(LENGTH.size, room)
        except OSError:
            return False
        if not data:
            return False
        descriptors = []
        for _, _, received in ancillary:
            whole = len(received) // _DESCRIPTOR.size * _DESCRIPTOR.size
            descriptors += [number for (number,) in _DESCRIPTOR.iter_unpack(received[:whole])]
        data = self._read(LENGTH.size - len(data), data)
        request = marshal.loads(self._read(LENGTH.unpack(data)[0]))
        if request[0] == START:
            self._start(request, descriptors)
        elif request[0] == KILL:
            self._kill(request[1])
        for descriptor in descriptors:
            os.close(descriptor)
        return True

    def _read(self, size: int, data: bytes = b"") -> bytes:
        while size:
            part = self._control.recv(size)
            if not part:
                os._exit(1)
            data += part
            size -= len(part)
        return data

    def _start(self, request: tuple[Any, ...], descriptors: list[int]) -> None:
        _, number, argv, variables, directory = request
        pid = os.fork()
        if not pid:
            self._become(argv, variables, directory, descriptors)
        self._workers[pid] = number
        self._tell(STARTED, number, pid)

    def _become(
        self, argv: list[str], variables: dict[str, str], directory: str, descriptors: list[int]
    ) -> None:
        """
        Turn this child into a worker: its stream is 0, 1 and 2, the rest follow.
        """
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            trees.prepare_child()
            # High copies first, so that none is overwritten before its turn.
            copies = [_duplicate(descriptor) for descriptor in descriptors]
            for target, copy in enumerate([copies[0], copies[0], *copies]):
                os.dup2(copy, target)
            os.closerange(len(copies) + 2, 128)
            try:
                os.chdir(directory)
            except OSError:
                pass
            os.execvpe(argv[0], argv, variables)
        except OSError as error:
            os.write(2, f"{argv[0]} cannot be started: {error.strerror}\n".encode())
        finally:
            os._exit(127)

    def _kill(self, number: int) -> None:
        for pid, known in self._workers.items():
            if known == number:
                trees.kill_descendants(pid)
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass

    def _reap(self) -> None:
        """
        Tell of workers that have ended, and end what they have left behind.
        """
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            number = self._workers.pop(pid, None)
            self._end_orphans()
            if number is not None:
                self._tell(EXITED, number, status)

    def _end_orphans(self) -> None:
        for child in trees.children(os.getpid()):
            if child not in self._workers:
                trees.kill_descendants(child)
                try:
                    os.kill(child, signal.SIGKILL)
                except ProcessLookupError:
                    pass

    def _tell(self, what: int, number: int, value: int) -> None:
        try:
            self._control.sendall(ANSWER.pack(what, number, value))
        except OSError:
            pass

    def _end(self) -> None:
        # In turns: a machine that stands still takes one of them, and not the whole time.
        for _ in range(round(_GRACE / _TURN)):
            if not self._workers:
                break
            self._reap()
            time.sleep(_TURN)
        trees.kill_descendants(os.getpid())


def _duplicate(descriptor: int) -> int:
    import fcntl

    return fcntl.fcntl(descriptor, fcntl.F_DUPFD, 64)


def main() -> None:
    """
    Run the keeper of the client at the other end of descriptor 0.
    """
    trees.become_subreaper()
    Keeper(_socket.socket(fileno=os.dup(0))).run()
