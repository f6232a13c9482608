"""
Owners: the call that each piece of code in a worker prints for.

Tasks inherit the owner of the code that makes them. Threads do not: what they print belongs to
the call that runs, until that has ended and has left them behind.
"""

from __future__ import annotations

import _thread
import sys
import threading
from contextvars import ContextVar
from weakref import WeakKeyDictionary

from fal_core_worker.stream.frames import LEFT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

    #: The channel of a call, and the index of its item.
    Owner = tuple[int, int]

#: The owner of what the current code prints. None in threads that calls have started.
current: ContextVar[Owner | None] = ContextVar("owner", default=None)

#: Returns how many threads run, in a fraction of the time of what ``threading`` has for it.
count_threads = _thread._count

#: What the threads of a pool run while they wait for work: the file, and the functions in it.
_IDLE = (
    ("/concurrent/futures/thread.py", ("_worker",)),
    (
        "/multiprocessing/pool.py",
        ("worker", "_wait_for_updates", "_handle_tasks", "_handle_results"),
    ),
)
#: Where all kinds of threads wait.
_WAITS = ("/threading.py", "/queue.py", "/selectors.py", "/multiprocessing/connection.py")


class StartedThreads:
    """
    The threads that calls have started, and the calls that have left them behind.

    Attributes:
        usual: How many threads the worker has by itself. As long as :data:`count_threads`
            returns as many, there is nothing to note.
    """

    __slots__ = ("_owners", "_workers", "usual")

    def __init__(self) -> None:
        self.usual = 0
        # The worker's own.
        self._workers: set[threading.Thread] = set()
        self._owners: WeakKeyDictionary[threading.Thread, Owner] = WeakKeyDictionary()

    def begin(self) -> None:
        """Take the threads that there are for the worker's own."""
        self._workers.update(threading.enumerate())
        self.usual = count_threads()

    def exclude(self) -> None:
        """Take the thread that calls this for one of the worker's own."""
        self._workers.add(threading.current_thread())
        self.usual += 1

    def find_owner(self) -> Owner | None:
        """Return the owner of the current thread. None if no call has left it behind."""
        return self._owners.get(threading.current_thread()) if self._owners else None

    def free_idle(self) -> None:
        """Take threads of pools that wait for work from the calls that had left them at work."""
        if self._owners:
            frames = sys._current_frames()
            for thread in list(self._owners):
                if thread.ident is not None and _waits_for_work(frames.get(thread.ident)):
                    self._owners.pop(thread, None)

    def note_left(self, owner: Owner, *, of: int | None = None) -> int:
        """
        Give the threads that have no owner to *owner*, whose call ends.

        A thread of a pool that waits for work gets none: what it prints later belongs to the
        call that gives it work.

        Return LEFT if threads of that call go on, or of the call of channel *of*, else 0.
        """
        frames = sys._current_frames()
        channel, left = owner[0] if of is None else of, 0
        for thread in threading.enumerate():
            if thread in self._workers:
                continue
            if thread.ident is None or _waits_for_work(frames.get(thread.ident)):
                self._owners.pop(thread, None)
            elif self._owners.setdefault(thread, owner)[0] == channel:
                left = LEFT
        return left


def _waits_for_work(frame: FrameType | None) -> bool:
    """Tell whether *frame*, the innermost of a thread, is that of a pool without work."""
    while frame is not None and frame.f_code.co_filename.endswith(_WAITS):
        frame = frame.f_back
    if frame is None:
        return False
    code = frame.f_code
    return any(code.co_filename.endswith(file) and code.co_name in idle for file, idle in _IDLE)
