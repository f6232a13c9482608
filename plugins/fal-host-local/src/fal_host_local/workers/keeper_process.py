"""
The keeper process: starts workers, and kills them and the processes they leave behind.

One keeper runs beside each caller. It is a child subreaper, so it inherits the orphans
of workers that have ended, and kills them. When the caller ends, for whatever reason, the
keeper kills every worker with all its child processes, and then exits.

A request is a marshalled tuple behind its length; the descriptors that the worker
inherits are passed along with it. A response is three integers, see :data:`RESPONSE`.

A first call waits for the keeper before its worker can start, so the keeper imports as
little as it can: ``signal`` and ``array`` of the standard library take twice as long as
the interpreter itself. For the same reason it runs this module by itself, without the
packages around it, which import the core.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # known to no type checker
import _socket
import marshal
import os
import select
import struct
import time

from fal_core_worker import trees

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fal_host_local.workers.confinement import Confinement

#: What happened (STARTED or EXITED), the number of the worker, and its process ID
#: or its wait status.
RESPONSE = struct.Struct("<III")
STARTED = 1
EXITED = 2
#: What a worker with limits has used: the most memory in KiB, and how many of its processes
#: were killed for it. They come before it has exited.
PEAK = 3
KILLS = 4
#: How many milliseconds processors have spent on it.
SPENT = 5

START = 1
KILL = 2
HOLD = 3
CONFINE = 4

LENGTH = struct.Struct("<I")
_MOST = (1 << 32) - 1
_DESCRIPTOR = struct.Struct("i")
_MAX_DESCRIPTORS = 64

#: Seconds that workers have to exit by themselves after the caller has ended.
_GRACE = 0.5
#: Seconds between two checks of which workers have exited.
_TURN = 0.01
#: Milliseconds between two looks at the memory of workers that no cgroup limits.
_WATCH = 100


class KeeperProcess:
    """
    The keeper of one caller, with the workers it has started.

    Arguments:
        control: The socket that the caller sends its requests through.
    """

    def __init__(self, control: _socket.socket) -> None:
        self._control = control
        self._workers: dict[int, int] = {}
        # What is open until the worker of that number has ended, as the locks of devices.
        self._held: dict[int, list[int]] = {}
        self._confined: dict[int, Confinement] = {}
        self._wake, writer = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def run(self) -> None:
        """
        Start and watch workers until the caller has ended.
        """
        poll = select.poll()
        poll.register(self._control.fileno(), select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        while True:
            watched = [each for each in self._confined.values() if each.watches]
            for descriptor, _ in poll.poll(_WATCH if watched else None):
                if descriptor == self._wake:
                    os.read(self._wake, 4096)
                    self._reap()
                elif not self._handle_request():
                    self._shut_down()
                    return
            if watched:
                self._watch()

    def _handle_request(self) -> bool:
        """
        Handle one request; return False if the caller has ended.
        """
        room = _socket.CMSG_SPACE(_DESCRIPTOR.size * _MAX_DESCRIPTORS)
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
        elif request[0] == HOLD:
            self._hold(request[1], descriptors)
            return True
        elif request[0] == CONFINE:
            # Few workers have limits. It stands beside this module, which runs by itself.
            import confinement  # type: ignore[import-not-found]

            self._confined[request[1]] = confinement.Confinement(request[2], request[1])
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

    def _hold(self, number: int, descriptors: list[int]) -> None:
        """
        Have *descriptors* open until worker *number* has ended; no worker inherits them.
        """
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        self._held[number] = descriptors

    def _start(self, request: tuple[Any, ...], descriptors: list[int]) -> None:
        _, number, argv, variables, directory = request
        confined = self._confined.get(number)
        problem = "" if confined is None else confined.make()
        pid = os.fork()
        if not pid:
            if problem:
                os.dup2(descriptors[0], 2)
                os.write(2, f"{problem}\n".encode())
                os._exit(127)
            self._exec_worker(argv, variables, directory, descriptors, confined)
        self._workers[pid] = number
        self._respond(STARTED, number, pid)

    def _exec_worker(
        self,
        argv: list[str],
        variables: dict[str, str],
        directory: str,
        descriptors: list[int],
        confined: Confinement | None = None,
    ) -> None:
        """
        Replace this child process with a worker.

        The first descriptor becomes its 0, 1 and 2, the others follow from 3 on.
        """
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            trees.prepare_child()
            # Duplicated to high numbers first, so that none is overwritten before its turn.
            copies = [_duplicate(descriptor) for descriptor in descriptors]
            for target, copy in enumerate([copies[0], copies[0], *copies]):
                os.dup2(copy, target)
            os.closerange(len(copies) + 2, 128)
            if confined is not None:
                confined.enter()
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
        Report the workers that have exited, and kill the orphans they have left.
        """
        while True:
            try:
                pid, status, used = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            number = self._workers.pop(pid, None)
            self._kill_orphans()
            if number is not None:
                self._free(number, used)
                self._respond(EXITED, number, status)

    def _free(self, number: int, used: Any) -> None:
        """
        Free what worker *number* has had, and report what it has used.
        """
        confined = self._confined.pop(number, None)
        if confined is not None:
            confined.end()
            peak = confined.peak >> 10
            if not confined.is_counted:
                peak = max(peak, used.ru_maxrss)
            self._respond(PEAK, number, min(peak, _MOST))
            spent = round((used.ru_utime + used.ru_stime) * 1000)
            self._respond(SPENT, number, min(spent, _MOST))
            self._respond(KILLS, number, min(confined.kills, _MOST))
        for descriptor in self._held.pop(number, ()):
            os.close(descriptor)

    def _watch(self) -> None:
        for pid, number in self._workers.items():
            confined = self._confined.get(number)
            if confined is not None and confined.watches:
                confined.watch(pid)

    def _kill_orphans(self) -> None:
        for child in trees.children(os.getpid()):
            if child not in self._workers:
                trees.kill_descendants(child)
                try:
                    os.kill(child, signal.SIGKILL)
                except ProcessLookupError:
                    pass

    def _respond(self, what: int, number: int, value: int) -> None:
        try:
            self._control.sendall(RESPONSE.pack(what, number, value))
        except OSError:
            pass

    def _shut_down(self) -> None:
        # Counted in turns, not by the clock: a machine that is suspended meanwhile takes
        # one turn from the workers, not all of their grace period.
        for _ in range(round(_GRACE / _TURN)):
            if not self._workers:
                break
            self._reap()
            time.sleep(_TURN)
        trees.kill_descendants(os.getpid())
        for confined in self._confined.values():
            confined.end()


def _duplicate(descriptor: int) -> int:
    import fcntl

    return fcntl.fcntl(descriptor, fcntl.F_DUPFD, 64)


def main() -> None:
    """
    Run the keeper of the caller at the other end of descriptor 0.
    """
    trees.become_subreaper()
    KeeperProcess(_socket.socket(fileno=os.dup(0))).run()
