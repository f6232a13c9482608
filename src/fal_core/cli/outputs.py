"""Output of the command line: sentences, JSON, results and errors."""

from __future__ import annotations

import io
import json
import os
import select
import stat
import sys
from collections.abc import Callable
from typing import IO, Any

import attrs
import click

from fal_core.errors import FalCoreError, FalSerializationError, UserFunctionException
from fal_core.sinks.printing import erase
from fal_core_worker.opening.exceptions import RemoteTraceback


def is_terminal(stream: IO[str]) -> bool:
    """Tell whether *stream* is a terminal on which a line can be redrawn."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def styled(text: str, stream: IO[str], **style: Any) -> str:
    """
    Return *text* in the *style* of ``click.style`` where *stream* shows colours.

    Colours are for terminals, unless ``NO_COLOR`` is set.
    """
    if os.environ.get("NO_COLOR") or not is_terminal(stream):
        return text
    return click.style(text, **style)


def complain(sentence: str, *, title: str = "Error") -> None:
    """Print *sentence* on standard error, after a title."""
    colour = "red" if title == "Error" else "yellow"
    click.echo(f"{styled(f'{title}:', sys.stderr, fg=colour, bold=True)} {sentence}", err=True)


def is_abandoned(stream: IO[str]) -> bool:
    """Tell whether *stream* is a pipe that nobody reads any more."""
    try:
        descriptor = stream.fileno()
        is_pipe = stat.S_ISFIFO(os.fstat(descriptor).st_mode)
    except (OSError, ValueError):
        return False
    poll = select.poll()
    poll.register(descriptor, 0)
    return is_pipe and any(found & select.POLLERR for _, found in poll.poll(0))


class OutputErrors:
    """
    Writes standard output and standard error by lines, and records the errors of that.

    It tells such an error from that of another file, which looks the same.
    """

    def __init__(self) -> None:
        self._errors: list[OSError] = []
        self._unwritable: set[IO[str]] = set()
        self._streams = tuple(filter(None, (sys.stdout, sys.stderr)))

    def __enter__(self) -> OutputErrors:
        for stream in self._streams:
            if isinstance(stream, io.TextIOWrapper):
                # The reader of a pipe gets the lines as they come too.
                stream.reconfigure(line_buffering=True)
            for name in ("write", "flush"):
                setattr(stream, name, self._watched(stream, getattr(stream, name)))
        return self

    def __exit__(self, *_: object) -> None:
        for stream in self._streams:
            for name in ("write", "flush"):
                delattr(stream, name)
            if stream in self._unwritable:
                _give_up(stream)

    def has_raised(self, error: OSError) -> bool:
        """Tell whether *error* came from the output, or means that nobody reads it."""
        if isinstance(error, BrokenPipeError) and any(map(is_abandoned, self._streams)):
            return True
        return error in self._errors

    def flush(self) -> None:
        """Flush both streams."""
        for stream in self._streams:
            stream.flush()

    def _watched(self, stream: IO[str], method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            try:
                return method(*args)
            except OSError as error:
                self._unwritable.add(stream)
                self._errors.append(error)
                raise

        return call


def _give_up(stream: IO[str]) -> None:
    """Discard what *stream* still buffers, which Python would fail to write at its exit."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)
    stream.flush()


def print_json(value: Any) -> None:
    """Print *value* as indented JSON."""
    click.echo(json.dumps(value, indent=2, default=str))


def to_json(value: Any) -> str:
    """
    Return the result *value* as one line of JSON.

    Dataclasses, attrs classes and pydantic models become objects.

    Raises:
        ClickException: It has no JSON form.
    """
    try:
        return json.dumps(value, default=_fields, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise click.ClickException(
            f"The result cannot be written as JSON: {error}. Leave out '--json', "
            "or return numbers, strings, lists and dictionaries."
        ) from error


def _fields(value: Any) -> Any:
    import dataclasses

    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if attrs.has(type(value)):
        return attrs.asdict(value)
    if callable(getattr(value, "model_dump", None)):
        return value.model_dump(mode="json")
    if isinstance(value, set | frozenset):
        return sorted(value, key=repr)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"there is none for {type(value).__name__}")


@attrs.frozen
class ResultPrinter:
    """Prints results as text or as JSON."""

    stream: IO[str]
    as_json: bool = attrs.field(kw_only=True)

    def __call__(self, value: Any) -> None:
        """Print *value*; None is printed as JSON only."""
        if self.as_json:
            self._write(to_json(value))
        elif value is not None:
            self._write(repr(value))

    def _write(self, line: str) -> None:
        # The progress of a map may be drawn, and ends here.
        erase()
        # In one write: another thread prints the lines of the function.
        self.stream.write(f"{line}\n")
        self.stream.flush()


# -- Errors ------------------------------------------------------------------------


def remote_traceback(error: BaseException) -> str:
    """Return the traceback of *error* from the worker; empty if it was raised here."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, RemoteTraceback):
        cause = cause.__cause__
    return "" if cause is None else cause.text.rstrip()


def report(error: FalCoreError) -> int:
    """Print what *error* says, and return the exit code for it."""
    from fal_core.loading.targets import TargetError, TargetImportError

    if isinstance(error, TargetImportError) and error.traceback:
        click.echo(error.traceback, err=True)
    complain(str(error))
    return 2 if isinstance(error, TargetError) else 1


def exit_of_function(error: BaseException) -> click.exceptions.Exit | None:
    """
    Return the click exception that ends the command as *error* ended the function: with its
    exit code, or after its traceback was printed. None if the function did not raise it.
    """
    raised = _raised_there(error)
    if isinstance(raised, SystemExit):
        return _leave(raised)
    return click.exceptions.Exit(1) if _show_remote_traceback(raised) else None


def _raised_there(error: BaseException) -> BaseException:
    """Return what the function raised, for which *error* may stand."""
    cause = error.__cause__
    if isinstance(error, UserFunctionException) and not isinstance(cause, RemoteTraceback):
        return cause or error
    return error


def _leave(error: SystemExit) -> click.exceptions.Exit:
    """Return the click exception that exits as Python does after *error*."""
    if error.code is None or isinstance(error.code, int):
        return click.exceptions.Exit(error.code or 0)
    click.echo(str(error.code), err=True)
    return click.exceptions.Exit(1)


def _show_remote_traceback(error: BaseException) -> bool:
    """
    Print the traceback of *error* if it was raised in the worker; return whether it was.

    Values that cannot be sealed are an exception: their traceback shows nothing of the
    function.
    """
    if isinstance(error, FalSerializationError):
        return False
    text = remote_traceback(error)
    if not text:
        return False
    # The traceback of the worker has its own notes; that of an item was added here.
    notes = [note for note in getattr(error, "__notes__", ()) if note not in text]
    click.echo("\n".join([text, *notes]), err=True)
    complain(f"The function raised {type(error).__name__}.")
    return True
