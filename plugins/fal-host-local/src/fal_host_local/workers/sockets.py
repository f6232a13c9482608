"""Descriptors that a worker receives over a Unix socket, where its engine passes none."""

from __future__ import annotations

import array
import os
import select
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from fal_core_worker import trees

#: Seconds between two looks at whether the process has ended that is waited for.
_TURN = 0.1
#: Characters: the system takes no longer path of a socket.
_LONGEST = 100
#: Seconds after which a directory is removed whose process has ended.
_OLD = 60.0
#: How the names of directories begin; the number of their process follows.
_PREFIX = "fal-core-socket-"


class Handover:
    """
    A socket that waits for a worker, which is given descriptors over it.

    Other users of this machine cannot get to it. Any user of a container that its folder is
    mounted into can.

    Attributes:
        folder: The directory of the socket, which the process has to see.

        path: The path of the socket.
    """

    def __init__(self) -> None:
        place = tempfile.gettempdir()
        if len(place) > _LONGEST - len(_PREFIX) - 20:
            place = "/tmp"
        remove_old(place)
        self._outer = tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=place)
        self.folder = os.path.join(self._outer, "s")
        self.path = os.path.join(self.folder, "s")
        self._listener = socket.socket(socket.AF_UNIX)
        try:
            os.mkdir(self.folder)
            os.chmod(self.folder, 0o755)
            self._listener.bind(self.path)
            os.chmod(self.path, 0o777)
            self._listener.listen(1)
        except OSError:
            self.close()
            raise

    def begin(self, descriptors: Sequence[int], has_ended: Callable[[], bool]) -> None:
        """
        Give *descriptors* to the first client that connects, unless the process ends before.

        They may be closed at once: copies are given.
        """
        copies: list[int] = []
        try:
            for each in descriptors:
                copies.append(os.dup(each))
            threading.Thread(
                target=self._wait,
                args=(copies, has_ended),
                name="fal-core handover",
                daemon=True,
            ).start()
        except BaseException:
            # Too many are open, or there are too many threads.
            for each in copies:
                os.close(each)
            raise

    def _wait(self, descriptors: list[int], has_ended: Callable[[], bool]) -> None:
        try:
            poll = select.poll()
            poll.register(self._listener, select.POLLIN)
            while not poll.poll(_TURN * 1000):
                if has_ended():
                    return
            connection, _ = self._listener.accept()
            with connection:
                rights = array.array("i", descriptors)
                kind = (socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)
                connection.sendmsg([b"\0"], [kind])
        except OSError:
            # The worker sees its stream end, and its process tells why.
            pass
        finally:
            for each in descriptors:
                os.close(each)
            self.close()

    def close(self) -> None:
        """Close the socket and remove it."""
        self._listener.close()
        shutil.rmtree(self._outer, ignore_errors=True)


def remove_old(place: str) -> None:
    """
    Remove the directories in *place* of processes that were killed before their workers had
    connected.
    """
    with os.scandir(place) as entries:
        for entry in entries:
            owner = entry.name.removeprefix(_PREFIX).partition("-")[0]
            if not entry.name.startswith(_PREFIX) or not owner.isdigit():
                continue
            with suppress(OSError):
                status = entry.stat(follow_symlinks=False)
                # A process that is not seen from here may have just made it.
                is_old = time.time() - status.st_mtime > _OLD
                if is_old and status.st_uid == os.getuid() and not trees.runs(int(owner)):
                    shutil.rmtree(entry.path, ignore_errors=True)
