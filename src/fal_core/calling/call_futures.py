"""
Futures of calls.
"""

from __future__ import annotations

from concurrent.futures import CancelledError, Future, InvalidStateError
from typing import Any

from fal_core.errors import Cancelled


class CallFuture(Future[Any]):
    """
    The future of a call. Unlike that of a thread it can be cancelled while it runs.

    Cancelling settles it at once and ends the call, whose answer is dropped if it still
    comes. A cancelled future raises :class:`~fal_core.errors.Cancelled`.
    """

    def cancel(self) -> bool:
        """
        Cancel the call, or end it if it runs; return False if it has ended.
        """
        if not super().cancel():
            return False
        # Of several threads that cancel, one goes on: this is one step.
        mark = object()
        if vars(self).setdefault("_cancelled_by", mark) is mark:
            # Without it, wait() and as_completed() do not learn of it.
            self.set_running_or_notify_cancel()
            self.end_call()
        return True

    def end_call(self) -> None:
        """
        End the call, whose answer nobody waits for.
        """

    def settle(self, value: Any, error: BaseException | None = None) -> None:
        """
        Take the answer of the call: *value*, or *error*. It is dropped after a cancel.
        """
        try:
            if error is None:
                self.set_result(value)
            else:
                self.set_exception(error)
        except InvalidStateError:
            pass

    def result(self, timeout: float | None = None) -> Any:
        """
        Wait for the result and return it, or raise what the function or its host raised.
        """
        try:
            return super().result(timeout)
        except CancelledError:
            if not self.cancelled():
                raise
            raise Cancelled from None
        finally:
            # The traceback of what is raised refers to this frame.
            del self

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """
        Wait for the end and return what :meth:`result` would raise; None for a result.
        """
        try:
            return super().exception(timeout)
        except CancelledError:
            raise Cancelled from None
