"""Outcomes of calls, as the control plane reads what agents send."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from fal_server.fleet.call_outcomes import CallOutcome
from fal_server_agent.messages import UnreadableMessage, pack
from fal_server_agent.outcomes import failed, raised, returned


def test_value_that_was_returned():
    """A returned value stays serialized, and is not in the repr."""
    outcome = CallOutcome.read(returned("pickle", ["secret"]))
    assert outcome == CallOutcome(method="pickle", data=outcome.data)
    assert pickle.loads(outcome.data) == ["secret"]
    assert "secret" not in repr(outcome)


def test_exception_that_was_raised():
    """An exception stays serialized, and is described by its class, message and traceback."""
    try:
        raise LookupError("gone")
    except LookupError as error:
        outcome = CallOutcome.read(raised("pickle", error))
    assert (outcome.raised, outcome.type_name, outcome.text) == (True, "LookupError", "gone")
    assert "in test_exception_that_was_raised" in outcome.traceback
    assert isinstance(pickle.loads(outcome.data), LookupError)


def test_call_without_an_outcome():
    """
    A call that could not be run has a failure instead. Agents of earlier versions describe
    exceptions by nothing but their data.
    """
    assert CallOutcome.read(failed("It broke.")) == CallOutcome(failure="It broke.")
    earlier = pack({"raised": True, "method": "dill"}, b"data")
    assert CallOutcome.read(earlier) == CallOutcome(raised=True, method="dill", data=b"data")


def test_text_that_is_not_valid_unicode():
    """
    Half of a surrogate pair, as file names that are not UTF-8 have, is replaced in all that
    is shown or stored; the data stays as it is.
    """
    try:
        raise ValueError("caf\udce9 is gone")
    except ValueError as error:
        outcome = CallOutcome.read(raised("pickle", error))
    assert outcome.text == "caf? is gone"
    assert "ValueError: caf? is gone" in outcome.traceback
    assert str(pickle.loads(outcome.data)) == "caf\udce9 is gone"
    assert CallOutcome.read(failed("caf\udce9")).failure == "caf?"


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"raised": 1},
        {"raised": True, "method": ["pickle"]},
        {"raised": True, "method": "pickle", "traceback": 7},
        {"raised": False, "method": None},
        {"failed": {"a": "b"}},
    ],
)
def test_message_that_is_no_outcome(header: dict[str, Any]):
    """What has other types than an outcome is refused."""
    with pytest.raises(UnreadableMessage):
        CallOutcome.read(pack(header, b"data"))
    with pytest.raises(UnreadableMessage):
        CallOutcome.read(pack({"raised": False, "method": "pickle"}))
