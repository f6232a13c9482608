"""Trimming: the frames of ours that say nothing about an error are left out of its traceback."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from fal_core.errors import FalCoreError, PluginError

ErrorT = TypeVar("ErrorT", bound=BaseException)
MethodT = TypeVar("MethodT", bound=Callable[..., Any])

#: The package that tells users what they have called in a wrong way.
_REFUSING = "fal_core.refusing."

#: What the names of our modules begin with.
_OURS = "fal_core."


def begins_at_caller(method: MethodT) -> MethodT:
    """Make *method* raise errors whose tracebacks say where it was called, and no more."""

    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        try:
            return method(*args, **kwargs)
        except StopIteration:
            # Nothing is wrong: an iterator has ended.
            raise
        except Exception as error:
            raise trim(error)  # noqa: B904  # the same one

    made: Any = call
    return made  # type: ignore[no-any-return]  # it is called as the method is


def trim(error: ErrorT) -> ErrorT:
    """
    Return *error*, to be raised again by the function that has caught it.

    Where it says by itself what went wrong, its traceback begins anew: that is so for what a
    function has raised on its host, and for errors of fal-core. An error that nobody meant to
    raise keeps all frames but that of the catching function, which raising adds again.
    """
    _hide_in_notebooks(error)
    trace = error.__traceback__
    if isinstance(error, FalCoreError):
        _trim_causes(error)
    elif not (_is_remote(error.__cause__) or _is_refusal(error)):
        return error.with_traceback(None if trace is None else trace.tb_next)
    return error.with_traceback(None)


def trim_to_user(error: ErrorT) -> ErrorT:
    """
    Return *error*, which code of the user has raised in this process: its traceback begins
    with the first frame of that code. One that has none is trimmed as by :func:`trim`.
    """
    # Nothing is raised as a rule, and this takes a while to import.
    from fal_core_worker.opening.exceptions import find_trace

    trace = find_trace(error)
    _hide_in_notebooks(error)
    return trim(error) if trace is None else error.with_traceback(trace)


def _hide_in_notebooks(error: BaseException) -> None:
    if "IPython" in sys.modules:
        from fal_core.tracebacks.notebooks import hide_calls

        hide_calls(error)


def _is_remote(cause: BaseException | None) -> bool:
    """Tell whether *cause* is the traceback of what has raised on a host."""
    from fal_core_worker.opening.exceptions import RemoteTraceback

    return isinstance(cause, RemoteTraceback)


def _is_refusal(error: BaseException) -> bool:
    """Tell whether *error* was raised to refuse a call, or by a call that has trimmed it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return False
    raised_by = str(trace.tb_frame.f_globals.get("__name__", ""))
    if raised_by.startswith(_REFUSING):
        return True
    # A way to call a function hides itself, and raises what it refuses or has trimmed. Helpers
    # of users hide themselves too, from their tests.
    return raised_by.startswith(_OURS) and "__tracebackhide__" in trace.tb_frame.f_locals


def _trim_causes(error: BaseException) -> None:
    """
    Leave out where the causes of *error* were raised that are errors of ours, too, and the
    frames of ours that other causes begin with.

    What a plugin has raised is for its author, who needs all of it.
    """
    from fal_core_worker.opening.exceptions import find_trace

    cause = error.__cause__
    while cause is not None and not (isinstance(error, PluginError) or _is_remote(cause)):
        if type(cause).__module__.startswith("fal_"):
            cause.__traceback__ = None
        else:
            # One that has no other frames is a mistake of ours, which they tell.
            cause.__traceback__ = find_trace(cause) or cause.__traceback__
        error, cause = cause, cause.__cause__
