"""
Locks, queues and the like, which travel as new ones.

A copy is not shared with the process that it comes from: a lock is free, a semaphore has its
count, an event is set if it was, and a queue has its items. What somebody holds or waits for
is refused, since nobody would release the copy. So is what stands for something that only its
process has, such as a file descriptor: a copy would use whatever has that number elsewhere.
"""

from __future__ import annotations

import copyreg
import sys
import threading
from collections.abc import Callable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Reduced = tuple[Any, ...]

#: Seconds to wait for a lock that another thread may hold for a moment only.
_MOMENT = 0.2

#: Two threads may take the items of one queue in turn, to put them back.
_counting = threading.Lock()


class Stays(TypeError):
    """An object belongs to its process, for a reason that the message states."""


def is_one(kind: type) -> bool:
    """Tell whether objects of type *kind* travel as new ones, or are refused here."""
    module = kind.__module__
    if module in _MODULES and (
        kind in _RENEWED or module in _QUEUES or (module, kind.__name__) in _OF_PROCESS
    ):
        return True
    return issubclass(kind, _BASES) or hasattr(kind, "fileno") or _late_base(kind) is not None


def _late_base(kind: type) -> str | None:
    """Return what objects of *kind* are if they derive from a class that few processes import."""
    for (module, name), what in _LATE_BASES.items():
        found = sys.modules.get(module)
        if found is not None and issubclass(kind, getattr(found, name)):
            return what
    return None


def renew(value: Any) -> tuple[str, Reduced] | None:
    """
    Return what *value* is, as in ``a lock``, and its reduced form; None for no such object.

    Raises:
        Stays: It is held, somebody waits for it, or it cannot be anywhere else.
    """
    kind = type(value)
    if kind in _RENEWED:
        name, reduce = _RENEWED[kind]
        return name, reduce(value)
    if kind.__module__ in _QUEUES:
        return _renew_queue(value)
    if isinstance(value, threading.local):
        reduced = _reduce_local(value)
        return reduced and ("a thread-local object", reduced)
    what = _OF_PROCESS.get((kind.__module__, kind.__name__)) or _late_base(kind)
    if what is None and issubclass(kind, threading.Thread):
        what = "a thread"
    if what is None:
        number = _find_descriptor(value)
        if number is None:
            return None
        what = f"an open {kind.__name__}, file descriptor {number},"
    raise Stays(f"{what} belongs to its process")


#: Bases of what is renewed or refused, wherever its class is.
_BASES = (threading.local, threading.Thread)
#: The same, for those that are looked up where their module is imported.
_LATE_BASES = {
    ("concurrent.futures", "Future"): "a future",
    ("ctypes", "CDLL"): "a loaded C library",
}


def _refuse_held(what: str) -> Stays:
    return Stays(f"{what} that is held or waited for, whose copy nobody would release")


# -- locks -----------------------------------------------------------------------------

#: The types of locks.
LOCKS = frozenset((type(threading.Lock()), type(threading.RLock())))
_REENTRANT = type(threading.RLock())


def is_free(lock: Any) -> bool:
    """Tell whether nobody holds *lock* at the moment."""
    if not lock.acquire(blocking=False):
        return False
    free = type(lock) is not _REENTRANT or _is_held_once(lock)
    lock.release()
    return free


def _is_held_once(lock: Any) -> bool:
    # If this thread held it before it took it to find out, it holds it twice.
    return " count=1 " in repr(lock)


def _reduce_lock(lock: Any) -> Reduced:
    if lock.locked():
        if not lock.acquire(timeout=_MOMENT):
            raise _refuse_held("a lock")
        lock.release()
    return make_lock, (False,)


def _reduce_reentrant_lock(lock: Any) -> Reduced:
    if not lock.acquire(timeout=_MOMENT):
        raise _refuse_held("a lock")
    free = _is_held_once(lock)
    lock.release()
    if not free:
        raise _refuse_held("a lock")
    return make_lock, (True,)


def _reduce_condition(condition: Any) -> Reduced:
    if condition._waiters:
        raise _refuse_held("a condition")
    return threading.Condition, (condition._lock,)


def _reduce_semaphore(semaphore: Any) -> Reduced:
    if semaphore._cond._waiters:
        raise _refuse_held("a semaphore")
    if type(semaphore) is threading.BoundedSemaphore:
        state: Any = semaphore
        return make_bounded_semaphore, (state._initial_value, state._value)
    return threading.Semaphore, (semaphore._value,)


def _reduce_event(event: Any) -> Reduced:
    if event._cond._waiters:
        raise _refuse_held("an event")
    return make_event, (event.is_set(),)


def make_lock(reentrant: bool) -> Any:
    """Make a lock that is free. Its own name differs between Pythons."""
    return threading.RLock() if reentrant else threading.Lock()


def make_bounded_semaphore(limit: int, value: int) -> threading.BoundedSemaphore:
    """Make a semaphore that was acquired down to *value*."""
    made: Any = threading.BoundedSemaphore(limit)
    made._value = value
    return made  # type: ignore[no-any-return]  # it is one


def make_event(is_set: bool) -> threading.Event:
    """Make an event."""
    made = threading.Event()
    if is_set:
        made.set()
    return made


_RENEWED: dict[type, tuple[str, Callable[[Any], Reduced]]] = {
    type(threading.Lock()): ("a lock", _reduce_lock),
    type(threading.RLock()): ("a lock", _reduce_reentrant_lock),
    threading.Condition: ("a condition", _reduce_condition),
    threading.Semaphore: ("a semaphore", _reduce_semaphore),
    threading.BoundedSemaphore: ("a semaphore", _reduce_semaphore),
    threading.Event: ("an event", _reduce_event),
}

#: Objects that would arrive without what they stand for.
_OF_PROCESS = {
    ("subprocess", "Popen"): "a child process",
    ("concurrent.futures.thread", "ThreadPoolExecutor"): "an executor",
    # Some have no descriptor, and refer to themselves.
    ("selectors", "SelectSelector"): "a selector",
    ("selectors", "PollSelector"): "a selector",
    ("selectors", "EpollSelector"): "a selector",
    ("selectors", "DevpollSelector"): "a selector",
    ("selectors", "KqueueSelector"): "a selector",
}
_QUEUES = ("queue", "_queue")
#: The modules of the types that are renewed or refused themselves.
_MODULES = frozenset(
    (*_QUEUES, *(kind.__module__ for kind in _RENEWED), *(module for module, _ in _OF_PROCESS))
)


# -- file descriptors ------------------------------------------------------------------


def _find_descriptor(value: Any) -> int | None:
    """Return the file descriptor that *value* would take with it as a bare number, or None."""
    kind: Any = type(value)
    if value is sys.stdout or value is sys.stderr or _states_itself(kind):
        return None
    try:
        number = value.fileno()
    except Exception:
        # It is closed, or has none.
        return None
    return number if isinstance(number, int) and number >= 0 else None


def _states_itself(kind: Any) -> bool:
    """Tell whether the class says what is pickled of its objects, instead of all attributes."""
    if (kind.__module__, kind.__name__) == ("tempfile", "SpooledTemporaryFile"):
        # Asked for its descriptor, it would make a file of what it has in memory.
        return True
    names = ("__reduce__", "__reduce_ex__", "__getstate__")
    return kind in copyreg.dispatch_table or any(
        getattr(kind, name, None) is not getattr(object, name, None) for name in names
    )


# -- objects of threads ----------------------------------------------------------------


def _reduce_local(value: Any) -> Reduced | None:
    kind = type(value)
    if kind is threading.local:
        return threading.local, ()
    names = getattr(kind, "__dataclass_fields__", None)
    if names is None:
        return None
    # Each thread gets what this one has.
    fields = {name: getattr(value, name) for name, field in names.items() if field.init}
    return make_from_fields, (kind, fields)


def make_from_fields(kind: type, fields: dict[str, Any]) -> Any:
    """Make an instance of a dataclass."""
    return kind(**fields)


# -- queues ----------------------------------------------------------------------------


def _renew_queue(value: Any) -> tuple[str, Reduced] | None:
    import queue

    kind = type(value)
    if kind is queue.SimpleQueue:
        items, limit = _look_into(value), None
    elif kind in (queue.Queue, queue.LifoQueue, queue.PriorityQueue):
        items, limit = _copy_items(value), value.maxsize
    else:
        return None
    ended = bool(getattr(value, "is_shutdown", False))
    return "a queue", (make_queue, (kind, limit, ended), items, None, None, fill_queue)


def _copy_items(value: Any) -> list[Any]:
    if not value.mutex.acquire(timeout=_MOMENT):
        raise _refuse_held("a queue")
    try:
        conditions = (value.not_empty, value.not_full, value.all_tasks_done)
        if any(condition._waiters for condition in conditions):
            raise _refuse_held("a queue")
        return list(value.queue)
    finally:
        value.mutex.release()


def _look_into(value: Any) -> list[Any]:
    """Return the items of a simple queue, which has no other way to see them than to take them."""
    with _counting:
        items = [value.get_nowait() for _ in range(value.qsize())]
        for item in items:
            value.put(item)
    return items


def make_queue(kind: Any, limit: int | None, ended: bool) -> Any:
    """Make a queue without items. *ended* tells whether it was shut down."""
    made = kind() if limit is None else kind(limit)
    if ended and hasattr(made, "shutdown"):
        made.shutdown()
    return made


def fill_queue(made: Any, items: list[Any]) -> None:
    """Give a new queue its items, each of which is a task yet to be done."""
    if not hasattr(made, "unfinished_tasks"):
        for item in items:
            made.put(item)
        return
    made.queue.extend(items)
    made.unfinished_tasks = len(items)
