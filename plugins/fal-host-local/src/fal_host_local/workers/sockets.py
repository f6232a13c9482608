"""
Descriptors that a worker receives over a Unix socket, where its engine passes none.
"""

from __future__ import annotations

import array
import os
import select
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Sequence

#: Seconds between two looks at whether the process has ended that is waited for.
_TURN = 0.1
#: Characters: the system takes no longer path of a socket.
_LONGEST = 100


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
        self._outer = tempfile.mkdtemp(prefix="fal-core-")
        if len(self._outer) > _LONGEST:
            os.rmdir(self._outer)
            self._outer = tempfile.mkdtemp(prefix="fal-core-", dir="/tmp")
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
        Give *descriptors* to whoever connects first, unless the process ends before.

        They may be closed at once: copies are given.
        """
        copies = [os.dup(each) for each in descriptors]
        threading.Thread(
            target=self._wait, args=(copies, has_ended), name="fal-core handover", daemon=True
        ).start()

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
        """
        Close the socket and remove it.
        """
        self._listener.close()
        shutil.rmtree(self._outer, ignore_errors=True)
