"""
How values are shown.

attrs compiles a ``__repr__`` for each class, which takes half of the time of making the
class. Sharing one, as in ``__repr__ = show_fields``, keeps the import short.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs


def show_fields(self: Any) -> str:
    """Show an instance of an attrs class as attrs would."""
    shown = []
    for field in attrs.fields(type(self)):
        if field.repr:
            show = field.repr if callable(field.repr) else repr
            shown.append(f"{field.name}={show(getattr(self, field.name))}")
    return f"{type(self).__qualname__.rpartition('>.')[2]}({', '.join(shown)})"


def show_size(count: float) -> str:
    """Show a number of bytes as people read it, as in ``1.5 GB``; a GB is 10 ** 9 of them."""
    for power, unit in ((4, "TB"), (3, "GB"), (2, "MB"), (1, "kB")):
        # What is shown as 1000 of a unit is 1 of the next.
        if round(count / 1000 ** (power - 1), 1) >= 1000:
            return f"{count / 1000**power:.1f}".removesuffix(".0") + f" {unit}"
    return f"{count:.0f} B"


#: Signals that a program gets by what it does itself, and not from another one.
_CRASHES = ("SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGSEGV", "SIGSYS", "SIGTRAP")


def show_end(lost: Any, end: str) -> str:
    """
    Show how a worker has ended as sentences.

    Arguments:
        lost: A :class:`~fal_core.errors.WorkerLost`.

        end: How, as the end of a sentence; empty for what its signal or its code says.
    """
    worker = f"Worker of {lost.function!r}" if lost.function else "The worker"
    said = f"{worker} {end or _end_of(lost)}"
    if lost.peak is not None and not end:
        most = "" if lost.memory is None else f" of {show_size(lost.memory)}"
        said += f"; peak memory {show_size(lost.peak)}{most}"
    return f"{said}. {lost.detail}".strip()


def show_timeout(error: Any) -> str:
    """Show the end of a call whose time was up, a :class:`~fal_core.errors.Timeout`."""
    late = f"The call took longer than {error.seconds:g} s"
    if error.detail:
        return f"{late}. {error.detail}"
    if error.queued:
        worker = f"a worker of host {error.host!r}" if error.host else "a worker"
        return (
            f"The call did not start within {error.seconds:g} s, as it waited for {worker} to "
            "start or to be free, and was withdrawn."
        )
    return f"{late}{f' on host {error.host!r}' if error.host else ''} and was ended."


def _end_of(lost: Any) -> str:
    if lost.signal is None:
        with_code = "ended" if lost.code is None else f"exited with code {lost.code}"
        return f"{with_code} before it answered"
    from signal import Signals

    names = {each.value: each.name for each in Signals}
    name = names.get(lost.signal, f"signal {lost.signal}")
    if name in _CRASHES:
        return f"crashed ({name})" + (f" in {lost.place}" if lost.place else "")
    if name == "SIGKILL":
        return "was killed (SIGKILL)"
    return f"was ended by {name} before it answered"


def show_seconds(seconds: float) -> str:
    """Show a duration as people read it, as in ``0.8 s``, ``42 s`` or ``3 min 5 s``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def show_html(title: str, rows: Iterable[tuple[str, object]]) -> str:
    """Return a table with a *title* for notebooks; of a cell that is a URL it makes a link."""
    from html import escape

    lines = [f'<tr><th colspan="2" style="text-align: left">{escape(title)}</th></tr>']
    for name, value in rows:
        text = escape(str(value))
        if text.startswith(("http://", "https://")):
            text = f'<a href="{text}" target="_blank">{text}</a>'
        left = 'style="text-align: left"'
        lines.append(f"<tr><td {left}>{escape(name)}</td><td {left}>{text}</td></tr>")
    return f"<table>{''.join(lines)}</table>"


def in_one_line(error: BaseException) -> str:
    """Return the message of *error* as part of a sentence: one line, without its full stop."""
    return " ".join(str(error).split()).rstrip(".") or "no reason was given"
