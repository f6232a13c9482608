"""
Forks: which memory a forked process may still read, and whether it lives.

A process that forks carries on, and so do the views of shared memory that its child process
has inherited. Each fork is marked by a mapped page of a file of its own. The child process
inherits the mapping, and so do those that it forks; it is gone once all of them have ended
or run another program, regardless of which files they close. The system knows: it refuses to
seal a file against writing as long as it is mapped.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection


class Loan:
    """
    Memory that is in use, and that processes which are forked meanwhile inherit.

    Attributes:
        after: The number of the last fork that does not inherit it.

        until: The number of the last fork that may.
    """

    __slots__ = ("after", "until")

    after: int
    until: int

    def is_among(self, numbers: Collection[int]) -> bool:
        """Tell whether one of the forks of those *numbers* may have inherited it."""
        return any(self.after < number <= self.until for number in numbers)


class Fork:
    """
    One fork, and its mark.

    Arguments:
        marked: Whether it gets a mark. Without one its processes count as living.
    """

    def __init__(self, number: int, *, marked: bool) -> None:
        self.number = number
        self._file = -1
        self._page: mmap.mmap | None = None
        if not marked:
            return
        try:
            self._file = os.memfd_create("fal-core-fork", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            os.ftruncate(self._file, mmap.PAGESIZE)
            self._page = mmap.mmap(self._file, mmap.PAGESIZE)
        except (AttributeError, OSError, ValueError):
            pass  # There is no room for a mark.

    def unmark(self) -> None:
        """Leave the mark to the forked process alone."""
        if self._page is not None:
            self._page.close()

    def lives(self) -> bool:
        """Tell whether a process lives that carries the mark."""
        if self._page is None:
            return True
        try:
            fcntl.fcntl(self._file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
        except OSError:
            return True
        return False

    def close(self) -> None:
        """Close the file. A mark that is mapped stays."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


class Forks:
    """The forks of this process, and what is in use while they happen."""

    def __init__(self) -> None:
        # Set by other threads at any moment, and by finalizers, which take no lock.
        self._loans: set[Loan] = set()
        self._lent = 0
        self._latest = 0
        self._begin_anew()
        #: What marks this process and the processes that it was forked from.
        self._carried: list[Fork] = []

    def _begin_anew(self) -> None:
        self._lock = threading.RLock()
        self._living: list[Fork] = []
        #: By the threads that fork, with how many loans there were before.
        self._under_way: dict[int, tuple[Fork, int]] = {}

    # -- what is in use ----------------------------------------------------------

    def begin(self, loan: Loan) -> None:
        """Begin *loan*: forks from now on inherit it."""
        # Read in this order: a fork that begins between is taken for a later one.
        latest = self._latest
        if self._under_way:
            begun = [fork.number - 1 for fork, _ in list(self._under_way.values())]
            latest = min([latest, *begun])
        loan.after = latest
        self._loans.add(loan)
        self._lent += 1

    def end(self, loan: Loan) -> None:
        """End *loan*: forks from now on do not inherit it."""
        loan.until = self._latest
        self._loans.discard(loan)

    def living(self) -> list[int]:
        """Return the numbers of the forks whose processes live."""
        if not self._living:
            return []
        with self._lock:
            dead = [fork for fork in self._living if not fork.lives()]
            for fork in dead:
                self._living.remove(fork)
                fork.close()
            return [fork.number for fork in self._living]

    def _follow(self, fork: Fork) -> None:
        with self._lock:
            self._living.append(fork)
            self._latest = max(self._latest, fork.number)

    # -- what happens when this process forks ------------------------------------

    def before(self) -> None:
        """Mark a fork that is about to happen."""
        self.living()
        lent = -1 if self._loans else self._lent
        fork = Fork(self._latest + 1, marked=lent != 0)
        self._under_way[threading.get_ident()] = fork, lent
        self._follow(fork)

    def after_in_parent(self) -> None:
        """Leave the mark to the forked process, if it may have inherited anything."""
        fork, lent = self._under_way.pop(threading.get_ident(), (None, 0))
        if fork is None:
            # A signal has interrupted what came before: the process counts as living.
            fork, lent = Fork(self._latest + 1, marked=False), -1
            self._follow(fork)
        fork.unmark()
        if lent == self._lent:
            # Nothing was in use at any moment since before the fork.
            with self._lock:
                self._living.remove(fork)
            fork.close()

    def after_in_child(self) -> None:
        """Keep the mark of this process, and forget what concerns its parent."""
        fork, _ = self._under_way.pop(threading.get_ident(), (None, 0))
        if fork is not None:
            self._carried.append(fork)
        for other in self._living:
            other.close()
        self._begin_anew()
        self._loans.clear()


#: Those of this process.
forks = Forks()

os.register_at_fork(
    before=forks.before,
    after_in_parent=forks.after_in_parent,
    after_in_child=forks.after_in_child,
)
