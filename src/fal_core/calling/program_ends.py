"""
The end of the program: submitted calls are waited for, and spawned ones are named.

A thread that is no daemon keeps the interpreter from ending while submitted calls are under
way. It learns that the program has ended from the end of its main thread.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from collections import Counter
from concurrent.futures import Future
from typing import Any, Protocol

import attrs

from fal_core.events import Log
from fal_core.sinks.printing import print_log
from fal_core.spawns import SpawnInfo

#: Seconds after the end of the program until it is said that calls are waited for.
_SILENCE = 1.0
#: Seconds between two looks at whether the thread is still needed.
_TICK = 1.0
#: Seconds that cancelled calls have to end, in addition to their grace.
_PATIENCE = 5.0

_TOO_LATE = (
    "A call was submitted when nothing could keep the program running for it any more. "
    "Submit calls before the program ends."
)


class Work(Protocol):
    """
    Calls under way that a program waits for before it ends.

    Attributes:
        grace: Seconds that cancelled ones have to end.

        is_quiet: Whether nobody is told that they are waited for.
    """

    grace: float
    is_quiet: bool

    def count(self) -> int:
        """Return how many calls there are."""

    def cancel(self) -> None:
        """Cancel them all."""

    def abandon(self) -> None:
        """Forget them, in a forked child: they are the parent's."""


@attrs.frozen(kw_only=True)
class Ending:
    """
    What is said of a spawned call that ends with the program.

    Attributes:
        name: The name of what was spawned.

        can_detach: Whether its host could let it go on.

        is_service: Whether it is reached from outside, and has no end of its own.

        is_application: Whether it was made of a class.
    """

    name: str
    can_detach: bool
    is_service: bool
    is_application: bool

    def sentences(self, count: int) -> str:
        """Return what ends, and what to do about it, for *count* such calls."""
        what = "service" if self.is_service else "call"
        if count == 1:
            ends = f"Spawned {what} {self.name!r} ends"
        else:
            ends = f"{count:,} spawned {what}s of {self.name!r} end"
        remedy = "To let it finish, wait for the return_value that spawn() gives"
        if self.is_service:
            remedy = "It answers as long as the program runs"
        if self.can_detach:
            made = f"{self.name}.to_function()" if self.is_application else self.name
            spawned = f"spawn {made}.with_policy(lifetime='detached')"
            remedy += f"; to keep it, {spawned}" if self.is_service else f", or {spawned}"
        return f"{ends} with this program. {remedy}."


class ProgramEnd:
    """What this process does about its calls when the program ends."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._work: dict[int, Work] = {}
        self._spawned: dict[int, tuple[SpawnInfo, Ending]] = {}
        self._thread: threading.Thread | None = None
        self._names_spawned = False

    # -- submitted calls -------------------------------------------------------------

    def wait_for(self, work: Work) -> None:
        """
        Keep the program from ending until :meth:`release` is called with *work*.

        Raises:
            RuntimeError: It has ended, or can start no thread that keeps it.
        """
        if self.is_past():
            raise RuntimeError(_TOO_LATE)
        with self._changed:
            if self._thread is None:
                # Said, since a daemon may be what submits, and would make it one.
                thread = threading.Thread(target=self._watch, name="fal-core end", daemon=False)
                try:
                    thread.start()
                except RuntimeError as error:
                    raise RuntimeError(f"{_TOO_LATE} Python says: {error}.") from error
                self._thread = thread
            self._work[id(work)] = work

    @staticmethod
    def is_past() -> bool:
        """Tell whether no thread is waited for any more, as in what atexit calls."""
        main = threading.main_thread()
        return not main.is_alive() and threading.get_ident() == main.ident

    def release(self, work: Work) -> None:
        """Wait for *work* no longer: its calls have ended."""
        with self._changed:
            self._work.pop(id(work), None)
            if not self._work:
                self._changed.notify_all()

    def _watch(self) -> None:
        main = threading.main_thread()
        while True:
            main.join(_TICK)
            with self._changed:
                if not self._work:
                    self._thread = None
                    return
            if not main.is_alive():
                break
        while True:
            self._wait_for_all()
            with self._changed:
                # Other threads of the program may go on and submit.
                self._thread = None
            if not self._count():
                return
            with self._changed:
                if self._thread is not None:
                    return
                self._thread = threading.current_thread()

    def _wait_for_all(self) -> None:
        """Wait for all work, now that the program has ended; Ctrl-C cancels it."""
        # Python reports through this hook what its main thread raises from now on.
        before = sys.unraisablehook

        def report(unraisable: Any) -> None:
            if issubclass(unraisable.exc_type, KeyboardInterrupt):
                self._cancel_all()
            else:
                before(unraisable)

        sys.unraisablehook = report
        try:
            until = time.monotonic() + _SILENCE
            told = False
            while count := self._count():
                left = until - time.monotonic()
                if left <= 0 and not told:
                    told = True
                    _tell(count - self._count(is_quiet=True))
                with self._changed:
                    if self._work:
                        # Where all calls were cancelled, nobody notifies.
                        self._changed.wait(left if left > 0 else _TICK)
        finally:
            sys.unraisablehook = before

    def _count(self, *, is_quiet: bool = False) -> int:
        works = list(self._work.values())
        return sum(work.count() for work in works if work.is_quiet or not is_quiet)

    def _cancel_all(self) -> None:
        works = list(self._work.values())
        try:
            for work in works:
                work.cancel()
            longest = max((work.grace for work in works), default=0.0) + _PATIENCE
            with self._changed:
                self._changed.wait_for(lambda: not self._work, longest)
        except KeyboardInterrupt:
            # Once more: nothing is waited for, and the workers end with this process.
            pass

    # -- spawned calls -----------------------------------------------------------------

    def name_at_end(self, info: SpawnInfo, ending: Ending) -> None:
        """Name the call of *info* if it is still under way when the program ends."""
        assert info.future is not None
        if not self._names_spawned:
            self._names_spawned = True
            atexit.register(self._name_spawned)
        key = id(info)
        self._spawned[key] = info, ending
        # On no other thread: this waits for nothing.
        Future.add_done_callback(info.future, lambda _: self._spawned.pop(key, None))

    def _name_spawned(self) -> None:
        counts = Counter(
            ending for info, ending in list(self._spawned.values()) if not info.ends
        )
        for ending, count in counts.items():
            _print(ending.sentences(count))

    # -- forks -------------------------------------------------------------------------

    def forget(self) -> None:
        """Begin anew in a forked child, whose calls all are its parent's."""
        works, spawned = self._work, self._spawned
        self._changed = threading.Condition()
        self._work, self._spawned, self._thread = {}, {}, None
        spawned.clear()
        for work in works.values():
            work.abandon()


def _tell(count: int) -> None:
    if count <= 0:
        return
    calls = "1 submitted call" if count == 1 else f"{count:,} submitted calls"
    them = "it" if count == 1 else "them"
    _print(f"The program has ended, and waits for {calls}. Ctrl-C cancels {them}.")


def _print(sentence: str) -> None:
    try:
        print_log(Log(sentence, "WARNING", "BRIDGE", time.time()))
    except (OSError, ValueError):
        # Nobody reads the standard error any more.
        pass


program_end: ProgramEnd = ProgramEnd()
os.register_at_fork(after_in_child=program_end.forget)
