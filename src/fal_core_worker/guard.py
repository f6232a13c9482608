"""
A guard: starts one process, and ends what that leaves behind.

It is for hosts that start a worker by a command of their own. It lives as long as
the process, ends as it ends, and takes SIGTERM as the wish to end all of it.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

from fal_core_worker import trees

_SOURCE = (
    "import sys; sys.path.insert(0, {path!r}); "
    "from fal_core_worker.guard import main; main(sys.argv[1:])"
)


def guarded(argv: Sequence[str]) -> list[str]:
    """
    Return the command that runs *argv* under a guard on this machine.
    """
    path = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return [sys.executable, "-I", "-S", "-c", _SOURCE.format(path=path), *argv]


def main(argv: Sequence[str]) -> None:
    """
    Run *argv*, and end as it has ended once nothing of it is left.
    """
    trees.become_subreaper()
    pid = os.fork()
    if not pid:
        _become(argv)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(pid, signal.SIGKILL))
    # Ctrl-C is for the process that launched this one, which decides what ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _, status = os.waitpid(pid, 0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    trees.kill_descendants(os.getpid())
    _end(status)


def _become(argv: Sequence[str]) -> None:
    trees.prepare_child()
    try:
        os.execvp(argv[0], list(argv))
    except OSError as error:
        os.write(2, f"{argv[0]} cannot be started: {error.strerror}\n".encode())
    finally:
        os._exit(127)


def _end(status: int) -> None:
    """
    End this process with the wait status *status*.
    """
    if os.WIFSIGNALED(status):
        import resource

        # The process has left its own core dump, where one is wanted.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        number = os.WTERMSIG(status)
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 1)
