"""
The keeper process: starts workers, and kills them and the processes they leave behind.

One keeper runs beside each caller. It is a child subreaper, so it inherits the orphans
of workers that have ended, and kills them. When the caller ends, for any reason, the
keeper kills every worker with all its child processes, and then exits.

A request is a marshalled tuple behind its length; the descriptors that the worker
inherits are passed along with it. A response is three integers, see :data:`RESPONSE`.

A worker may run where no signal reaches it, as in a container: another command ends it. It
has ended once that command has, and the program that the keeper has started as well. If that
program has ended alone, as one that was killed, the command ends what it has left.

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
#: What a worker that has failed, or has limits, has used: the most memory in KiB, and how many
#: of its processes were killed for it. They come before it has exited.
PEAK = 3
KILLS = 4
#: How many milliseconds processors have spent on it.
SPENT = 5
#: Which of its cgroups could not be removed.
BUSY = 6

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
#: Seconds that workers have to end which other commands end, twice.
_PATIENCE = 10.0


class KeeperProcess:
    """
    The keeper of one caller, with the workers it has started.

    Arguments:
        control: The socket that the caller sends its requests through.
    """

    def __init__(self, control: _socket.socket) -> None:
        self._control = control
        # The numbers of workers by their process IDs, and the commands that end them, or what
        # they have left.
        self._workers: dict[int, int] = {}
        # What is open until the worker of that number has ended, as the locks of devices.
        self._held: dict[int, list[int]] = {}
        self._confined: dict[int, Confinement] = {}
        self._stop_argvs: dict[int, tuple[Any, ...]] = {}
        # The workers that are being ended by the process of that ID, and how they ended.
        self._stoppers: dict[int, int] = {}
        self._ended: dict[int, tuple[int, Any]] = {}
        self._wake, writer = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def run(self) -> None:
        """Start and watch workers until the caller has ended."""
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
        """Handle one request; return False if the caller has ended."""
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
            import confinement  # type: ignore[import-not-found]  # found beside it

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
        """Have *descriptors* open until worker *number* has ended; no worker inherits them."""
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        self._held[number] = descriptors

    def _start(self, request: tuple[Any, ...], descriptors: list[int]) -> None:
        _, number, argv, variables, directory, layout, stop_argv = request
        confined = self._confined.get(number)
        problem = "" if confined is None else confined.make()
        pid = os.fork()
        if not pid:
            given = [descriptors[at] for at in layout]
            if problem:
                os.dup2(given[2], 2)
                os.write(2, f"{problem}\n".encode())
                os._exit(127)
            self._exec_worker(argv, variables, directory, given, confined)
        self._workers[pid] = number
        if stop_argv is not None:
            self._stop_argvs[number] = (stop_argv, variables, directory)
        self._respond(STARTED, number, pid)

    def _exec_worker(
        self,
        argv: list[str],
        variables: dict[str, str],
        directory: str,
        descriptors: list[int],
        confined: Confinement | None = None,
    ) -> None:
        """Replace this child process with a worker, which has *descriptors* from 0 on."""
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            trees.prepare_child()
            # Duplicated to high numbers first, so that none is overwritten before its turn.
            copies = [_duplicate(descriptor) for descriptor in descriptors]
            for target, copy in enumerate(copies):
                os.dup2(copy, target)
            os.closerange(len(copies), 128)
            if confined is not None:
                confined.enter()
            _become(argv, variables, directory)
        except OSError as error:
            os.write(2, f"{argv[0]} cannot be started: {error.strerror}\n".encode())
        finally:
            os._exit(127)

    def _kill(self, number: int) -> None:
        if number in self._stop_argvs and number not in self._workers.values():
            self._stop(0, number)
        for pid, known in self._workers.items():
            if known == number:
                if number in self._stop_argvs:
                    self._stop(pid, number)
                    return
                trees.kill_descendants(pid)
                _send_kill(pid)

    def _stop(self, pid: int, number: int) -> None:
        """
        End a worker that no signal reaches; it takes a process of its own to wait for that.

        Arguments:
            pid: The program that was started; 0 for one that has ended.
        """
        if number in self._stoppers.values():
            return
        command = self._stop_argvs[number]
        stopper = os.fork()
        if stopper:
            self._stoppers[stopper] = number
            return
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._control.close()
            # The caller learns by its end that the keeper has ended.
            os.dup2(os.open(os.devnull, os.O_RDWR), 0)
            # The devices of other workers are free once these have ended.
            for held in self._held.values():
                for descriptor in held:
                    os.close(descriptor)
            # It stands beside this module, which runs by itself.
            import stops  # type: ignore[import-not-found]  # found beside it

            stops.stop(pid, lambda: _become(*command))
        finally:
            os._exit(0)

    def _reap(self) -> None:
        """Report the workers that have exited, and kill the orphans they have left."""
        while True:
            try:
                pid, status, used = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            number = self._workers.pop(pid, None)
            is_stopper = number is None
            if number is None:
                number = self._stoppers.pop(pid, 0)
            else:
                self._ended[number] = status, used
            if is_stopper or not status:
                self._stop_argvs.pop(number, None)
            if self._kill_orphans() and number in self._stop_argvs:
                self._stop(0, number)
            if number in self._ended and number not in self._stoppers.values():
                status, used = self._ended.pop(number)
                self._free(number, used, failed=bool(status))
                self._respond(EXITED, number, status)

    def _free(self, number: int, used: Any, *, failed: bool) -> None:
        """Free what worker *number* has had, and report what it has used."""
        confined = self._confined.pop(number, None)
        if confined is not None:
            if busy := confined.end():
                self._respond(BUSY, number, busy)
            peak = confined.peak >> 10
            if not confined.is_counted:
                peak = max(peak, used.ru_maxrss)
            self._respond(PEAK, number, min(peak, _MOST))
            spent = round((used.ru_utime + used.ru_stime) * 1000)
            self._respond(SPENT, number, min(spent, _MOST))
            self._respond(KILLS, number, min(confined.kills, _MOST))
        elif failed:
            self._respond(PEAK, number, min(used.ru_maxrss, _MOST))
        for descriptor in self._held.pop(number, ()):
            os.close(descriptor)

    def _watch(self) -> None:
        for pid, number in self._workers.items():
            confined = self._confined.get(number)
            if confined is not None and confined.watches:
                confined.watch(pid)

    def _kill_orphans(self) -> bool:
        """Kill what workers have left, and return whether that belongs to a container."""
        is_contained = False
        for child in trees.children(os.getpid()):
            if child not in self._workers and child not in self._stoppers:
                is_contained |= trees.is_monitor(child) or trees.are_apart(child, os.getpid())
                trees.kill_descendants(child)
                if not trees.is_monitor(child):
                    _send_kill(child)
        return is_contained

    def _respond(self, what: int, number: int, value: int) -> None:
        try:
            self._control.sendall(RESPONSE.pack(what, number, value))
        except OSError:
            pass

    def _shut_down(self) -> None:
        # Counted in turns, not by the clock: a machine that is suspended meanwhile takes
        # one turn from the workers, not all of their grace period.
        self._reap_for(_GRACE)
        started = {number: pid for pid, number in self._workers.items()}
        for number in started:
            if number not in self._stop_argvs:
                self._kill(number)
        for number in list(self._stop_argvs):
            self._stop(started.get(number, 0), number)
        if self._stoppers:
            self._reap_for(2 * _PATIENCE)
        trees.kill_descendants(os.getpid())
        for confined in self._confined.values():
            confined.end()

    def _reap_for(self, seconds: float) -> None:
        """Wait until no worker is left, and none is being ended."""
        for _ in range(round(seconds / _TURN)):
            if not (self._workers or self._stoppers):
                break
            self._reap()
            time.sleep(_TURN)


def _become(argv: list[str], variables: dict[str, str], directory: str) -> None:
    try:
        os.chdir(directory)
    except OSError:
        pass
    os.execvpe(argv[0], argv, variables)


def _send_kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def _duplicate(descriptor: int) -> int:
    import fcntl

    return fcntl.fcntl(descriptor, fcntl.F_DUPFD, 64)


def main() -> None:
    """Run the keeper of the caller at the other end of descriptor 0."""
    trees.become_subreaper()
    KeeperProcess(_socket.socket(fileno=os.dup(0))).run()
