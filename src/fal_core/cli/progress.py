"""Progress: what a call waits for before it runs, shown on the terminal."""

from __future__ import annotations

import functools
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any

import attrs

from fal_core.calls import Call
from fal_core.cli.outputs import is_terminal, styled
from fal_core.events import Event, Exited, Log, Outcome, Sink, State
from fal_core.functions import IsolatedFunction
from fal_core.hosts import Execution, Host
from fal_core.reprs import show_seconds
from fal_core.sinks.call_sinks import CallSink, failed
from fal_core.sinks.printing import print_log
from fal_core.wrappers import WrapperHost

_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_PLAIN_FRAMES = "|/-\\"
_WORDS = {"building": "Building the environment", "queued": "Waiting for the host"}

#: Seconds before anything is shown: most waits are over by then.
_PATIENCE = 0.3
_INTERVAL = 0.1


class Progress:
    """
    A line with a spinner on a terminal; elsewhere the lines of the builder as they come.

    Arguments:
        stream: The terminal or file to write to.

        show: Prints the lines of the function.
    """

    def __init__(self, stream: IO[str], show: Callable[[Log], None]) -> None:
        self._stream = stream
        self._show = show
        self._drawn = False
        self._words = ""
        self._detail = ""
        self._since = 0.0
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._drawing = is_terminal(stream)
        if self._drawing:
            threading.Thread(target=self._draw, name="fal-core progress", daemon=True).start()

    def __call__(self, event: Event) -> None:
        """Show *event*."""
        with self._lock:
            if isinstance(event, State):
                self._tell_time(event.name)
                self._enter(_WORDS.get(event.name, ""))
            elif isinstance(event, Log) and event.source == "BUILDER" and self._drawing:
                self._detail = event.message.strip()
            elif isinstance(event, Log):
                self._clear()
                self._show(event)
            else:
                self._enter("")

    def close(self) -> None:
        """Remove the line for good."""
        self._over.set()
        with self._lock:
            self._enter("")

    def _tell_time(self, state: str) -> None:
        """Print how long the environment was built, if it took a while."""
        waited = time.monotonic() - self._since
        was_building = self._words == _WORDS["building"] and state != "building"
        if self._drawing and was_building and waited >= _PATIENCE:
            self._clear()
            self._stream.write(f"Built the environment in {show_seconds(waited)}.\n")

    def _enter(self, words: str) -> None:
        if words != self._words:
            self._clear()
            self._words, self._detail, self._since = words, "", time.monotonic()

    def _clear(self) -> None:
        if self._drawn:
            self._drawn = False
            self._stream.write("\r\033[K")
            self._stream.flush()

    def _draw(self) -> None:
        frames = _FRAMES if _can_print(self._stream, _FRAMES) else _PLAIN_FRAMES
        number = 0
        while not self._over.wait(_INTERVAL):
            number += 1
            with self._lock:
                waited = time.monotonic() - self._since
                if not self._words or waited < _PATIENCE or self._over.is_set():
                    continue
                self._drawn = True
                self._stream.write(
                    "\r\033[K" + self._line(frames[number % len(frames)], waited)
                )
                self._stream.flush()

    def _line(self, frame: str, waited: float) -> str:
        import shutil

        words = f"{self._words} ({waited:.0f} s)"
        left = shutil.get_terminal_size().columns - len(words) - 6
        detail = f": {self._detail[:left]}" if self._detail and left > 10 else ""
        return f"{styled(frame, self._stream, fg='cyan')} {words}{detail}"


@attrs.define(eq=False, slots=False)
class ShownHost(WrapperHost[..., Any]):
    """Passes everything to *inner*, and shows the events of its calls."""

    progress: Progress

    @property
    def name(self) -> str:  # type: ignore[override]  # inner's own, not the class's
        return self.inner.name

    @property
    def place(self) -> Host[Any, Any]:
        return self.inner.place

    def launch(self, call: Call, sink: Sink) -> Execution:
        around = _ShownSink(self.progress, sink)
        execution = self.inner.launch(call, around)
        around.follow(execution)
        return execution


class _ShownSink(CallSink):
    """Shows events, and passes on all but lines; if they cannot be shown the call is ended."""

    def __init__(self, progress: Progress, sink: Sink) -> None:
        self._progress = progress
        self._sink = sink

    def on_log(self, log: Log) -> None:
        self._progress(log)

    def on_state(self, state: State) -> None:
        self.on_other(state)

    def on_outcome(self, outcome: Outcome) -> None:
        self.on_other(outcome)

    def on_other(self, event: Event) -> None:
        self._progress(event)
        self._sink(event)

    def on_exited(self, exited: Exited) -> None:
        try:
            self._progress(exited)
        except Exception as error:
            exited = failed(error)
        self._sink(exited)


@contextmanager
def shown(
    function: IsolatedFunction[..., Any], progress: Progress
) -> Iterator[IsolatedFunction[..., Any]]:
    """Yield *function* with its calls shown by *progress*."""
    other = attrs.evolve(function, host=ShownHost(function.host, progress))
    if function.raw_func is not None:
        functools.update_wrapper(other, function.raw_func, updated=())
    try:
        yield other
    finally:
        progress.close()


def make_progress() -> Progress:
    """Return the progress line on standard error."""
    return Progress(sys.stderr, print_log)


def _can_print(stream: IO[str], text: str) -> bool:
    try:
        text.encode(getattr(stream, "encoding", None) or "ascii")
    except UnicodeEncodeError:
        return False
    return True
