"""The log of a deployment: which lines are shown, and in which form."""

from __future__ import annotations

import json
import traceback

import pytest

from fal_core.events import Event, Log, State
from fal_host_serverless.commands.deploy import DeploymentLog


class Shown:
    """What is shown."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.is_closed = False

    def __call__(self, event: Event) -> None:
        assert not self.is_closed
        self.events.append(event)

    def close(self) -> None:
        self.is_closed = True


def traceback_of(error: Exception) -> str:
    try:
        raise error
    except type(error):
        return traceback.format_exc()


def record_of(text: str) -> Log:
    return Log(json.dumps({"message": "The setup failed.", "traceback": text}), "STDERR")


def test_record_that_the_service_repeats_is_left_out():
    """The record of an error is not shown where the service prints its traceback too."""
    shown = Shown()
    log = DeploymentLog(shown)
    told = Log(traceback_of(LookupError("no weights")).rstrip(), "ERROR", "BRIDGE")
    for event in (State("building"), record_of(traceback_of(LookupError("no weights"))), told):
        log(event)
    log.close()
    assert shown.events == [State("building"), told]
    assert shown.is_closed


def test_record_that_nobody_repeats_is_shown_as_a_traceback():
    """A traceback that stands in a record alone is shown in the end, for people to read."""
    shown = Shown()
    log = DeploymentLog(shown)
    text = traceback_of(LookupError("no weights"))
    other = Log(traceback_of(OSError("full")))
    for event in (record_of(text), other, Log("LookupError: no weights")):
        log(event)
    assert shown.events == [other, Log("LookupError: no weights")]
    log.close()
    assert shown.events[2:] == [Log(text.strip(), "STDERR")]


@pytest.mark.parametrize(
    "message", ["{", '{"status": 200}', '{"traceback": 1}', "[1]", "words"]
)
def test_other_lines_are_shown_as_they_come(message: str):
    """Lines without a traceback are shown at once, JSON or not."""
    shown = Shown()
    DeploymentLog(shown)(Log(message))
    assert shown.events == [Log(message)]
