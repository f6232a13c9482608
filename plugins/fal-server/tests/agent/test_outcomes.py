"""Outcomes: serialized for clients, with tracebacks of the user's frames."""

from __future__ import annotations

import pickle
import threading
from typing import Any

import pytest

from fal_server_agent.messages import unpack
from fal_server_agent.outcomes import (
    ApplicationFailed,
    Unserializable,
    check,
    failed,
    raised,
    returned,
)


class Silent(Exception):
    """An exception whose text cannot be made."""

    def __str__(self) -> str:
        raise LookupError


def message_of(error: BaseException) -> tuple[dict[str, Any], Any]:
    header, parts = unpack(raised("pickle", error))
    return header, pickle.loads(parts[0])


def test_traceback_begins_with_the_user():
    """
    The traceback of an exception is without the frames of the framework around the
    function, and keeps those below it.
    """
    source = "def around(work): work()"
    framework: dict[str, Any] = {"__name__": "fal_server_agent.somewhere"}
    exec(source, framework)

    def fail() -> None:
        framework["around"](below)

    def below() -> None:
        raise LookupError("gone")

    inner: dict[str, Any] = {"__name__": "fal_core_worker.running"}
    exec(source, inner)
    with pytest.raises(LookupError) as caught:
        inner["around"](fail)
    error = caught.value
    # The frame of this test is no part of the framework.
    error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next
    header, found = message_of(error)
    assert (header["raised"], header["type"], header["message"]) == (
        True,
        "LookupError",
        "gone",
    )
    assert isinstance(found, LookupError)
    frames = [
        line.rpartition(" in ")[2]
        for line in header["traceback"].splitlines()
        if "File" in line
    ]
    assert frames == ["fail", "around", "below"]


def test_exception_of_the_framework_keeps_its_traceback():
    """An exception that only the framework has seen keeps all frames."""
    framework = {"__name__": "fal_core.somewhere"}
    exec("def fail(): raise LookupError('gone')", framework)
    with pytest.raises(LookupError) as caught:
        framework["fail"]()
    error = caught.value
    error.__traceback__ = error.__traceback__.tb_next
    assert "in fail" in message_of(error)[0]["traceback"]


def test_exception_without_a_text():
    """An exception whose text cannot be made arrives without one."""
    header, found = message_of(Silent())
    assert (header["type"], header["message"]) == ("Silent", "")
    assert isinstance(found, Silent)


@pytest.mark.parametrize("method", ["pickle", "no_such_module"])
def test_value_that_cannot_be_serialized(method: str, capsys: pytest.CaptureFixture[str]):
    """A value that cannot be serialized is an error that names its class, and prints why."""
    with pytest.raises(Unserializable, match=r"serializing the execution result .*lock"):
        returned(method, threading.Lock())
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (raised("pickle", LookupError("gone")), "LookupError: gone"),
        (raised("pickle", LookupError()), "LookupError"),
        (failed("Port 8080 is taken."), "Port 8080 is taken."),
    ],
)
def test_failed_application_is_an_error_for_the_host(message: bytes, told: str):
    """
    An agent raises the error that it has reported, and nothing where its application has
    returned.
    """
    check(returned("pickle", 1))
    with pytest.raises(ApplicationFailed) as caught:
        check(message)
    assert str(caught.value) == told
