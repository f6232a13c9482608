"""
Tracebacks of the other side, where a function ran.
"""

from __future__ import annotations

from fal_core_worker.opening.exceptions import RemoteTraceback


def remote_traceback(error: BaseException) -> str:
    """
    Return the traceback of *error* from where it was raised; empty if that was here.
    """
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, RemoteTraceback):
        cause = cause.__cause__
    return "" if cause is None else cause.text.rstrip()
