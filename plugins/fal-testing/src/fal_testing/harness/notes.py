"""Notes: what a host tells of the calls that a law makes, in words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fal_core.calls import Call
from fal_core.events import Event, Sink
from fal_core.hosts import Execution, Host
from fal_core.sinks import SinkAround
from fal_testing.harness.recorders import in_words, word_of

#: How many of the calls that have not ended are told of.
_SHOWN = 4


#: The notes of the law that runs; laws run one after the other.
_current: Notes | None = None


class NotingSink(SinkAround):
    """
    A sink that notes which events have come, and passes them on.

    It keeps words, not events: the memory of results is freed as without it.
    """

    def __init__(self, call: Call, sink: Sink) -> None:
        super().__init__(sink)
        self.name: str = call.name
        self.words: list[str] = []

    def __call__(self, event: Event) -> None:
        self.words.append(word_of(event))
        self.sink(event)

    @property
    def has_ended(self) -> bool:
        """Whether Exited has come."""
        return any(word.startswith("Exited") for word in self.words[-1:])


class Notes:
    """The calls that were launched on a host, and the events that have come of each."""

    def __init__(self) -> None:
        self._sinks: list[NotingSink] = []

    @property
    def told(self) -> str:
        """What has come of the calls that have not ended, as sentences."""
        open_ = [sink for sink in self._sinks if not sink.has_ended]
        said = [f"Of the call of {sink.name!r} came: {in_words(sink.words)}." for sink in open_]
        if len(said) > _SHOWN:
            said[_SHOWN:] = [f"There are {len(said) - _SHOWN} more calls that have not ended."]
        if not said and self._sinks:
            said = ["Every call that was launched has ended."]
        return " ".join(said or ["No call was launched."])

    def note(self, call: Call, sink: Sink) -> Sink:
        """Return the sink to launch *call* with in place of *sink*."""
        noting = NotingSink(call, sink)
        self._sinks.append(noting)
        return noting.for_host()


def told_so_far() -> str:
    """Return what has come of the calls of the law that runs, as sentences."""
    return "" if _current is None else _current.told


@contextmanager
def noted(host: Host[..., Any]) -> Iterator[None]:
    """Note what *host* tells of the calls that are launched on it meanwhile."""
    global _current
    instance: Any = host
    if not hasattr(host, "__dict__") or "launch" in vars(host):
        # There is no place for another launch.
        yield
        return
    launch, notes = host.launch, Notes()

    def noting(call: Call, sink: Sink) -> Execution:
        return launch(call, notes.note(call, sink))

    instance.launch, _current = noting, notes
    try:
        yield
    finally:
        _current = None
        del instance.launch
