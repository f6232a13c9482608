"""
Exceptions made anew of the record that the other end sealed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fal_core_worker import pickles
from fal_core_worker.raised import RemoteTraceback, SealingError, stand_in
from fal_core_worker.seals import PREFIX_SIZE, Sealed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fal_core_worker.raised import Record


def open_error(
    sealed: Sealed, own: Mapping[str, Callable[[str], BaseException]]
) -> BaseException:
    """
    Return the exception that was raised, its traceback there as cause.

    It is the exception itself wherever it can be; otherwise a stand-in whose class
    has the same name and bases. *own* makes those that have another name here.
    """
    return _rebuild(pickles.loads(memoryview(sealed.data)[PREFIX_SIZE:]), own)


def _rebuild(
    record: Record, own: Mapping[str, Callable[[str], BaseException]]
) -> BaseException:
    make = own.get(record.get("own") or "")
    if make:
        # Where it was raised is of no use to the user; what made it is.
        error = make(record["message"])
        if "cause" in record:
            error.__cause__ = _rebuild(record["cause"], own)
        return error
    if "members" in record:
        error = _rebuild_group(record, [_rebuild(member, own) for member in record["members"]])
    else:
        error = _open_whole(record) or stand_in(record)
    # What the exception had as its cause or context stays visible behind ours.
    remote = RemoteTraceback(record["traceback"])
    if "cause" in record:
        remote.__cause__ = _rebuild(record["cause"], own)
    elif "context" in record:
        remote.__context__ = _rebuild(record["context"], own)
    # A frozen exception would refuse it.
    object.__setattr__(error, "__cause__", remote)
    return error


def _rebuild_group(record: Record, members: list[BaseException]) -> BaseException:
    # Its members are made first, so each has its own traceback.
    error = stand_in({**record, "arguments": (record["arguments"][0], members)})
    return error


def _open_whole(record: Record) -> BaseException | None:
    from fal_core_worker.loading import open_sealed

    data = record.get("sealed")
    if data is None:
        return None
    try:
        opened = open_sealed(Sealed(data), "the exception", from_caller=False)
    except SealingError:
        return None
    return opened if isinstance(opened, BaseException) else None
