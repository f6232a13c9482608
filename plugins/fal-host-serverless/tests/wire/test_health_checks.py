"""The health check of an application, as an option and as a message."""

from __future__ import annotations

from typing import Any

import isolate_proto
import pytest
from google.protobuf.json_format import MessageToDict

from fal_core.errors import OptionError
from fal_host_serverless.wire.health_checks import health_check


class Check:
    """A health check as an object, as of fal's SDK."""

    path = "/up"
    start_period_seconds = None
    timeout_seconds = 3
    failure_threshold = None
    call_regularly = False
    method = "get"


@pytest.mark.parametrize(
    "config",
    [{"path": "/up", "timeout_seconds": 3, "call_regularly": False, "method": "get"}, Check()],
)
def test_fields_that_are_given_are_sent(config: Any):
    """A check is a mapping or an object; the service has defaults for what is left out."""
    message = health_check(config)
    assert message is not None
    assert MessageToDict(message) == {
        "path": "/up",
        "timeoutSeconds": 3,
        "callRegularly": False,
        "method": "GET",
    }
    assert not message.HasField("failure_threshold")


def test_without_an_option_there_is_no_check():
    """None sends no message, and a path is enough for one."""
    assert health_check(None) is None
    message = health_check({"path": "/"})
    assert message == isolate_proto.ApplicationHealthCheckConfig(path="/")
    assert not message.HasField("method")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"path": "/", "method": "PUT"}, "has the method 'PUT'. There are: "),
        ({"path": "/", "method": 3}, "method"),
        ({"timeout_seconds": 3}, "path"),
        ({"path": "/", "often": 1}, "often"),
    ],
)
def test_check_that_the_service_cannot_make_is_refused(config: dict[str, Any], words: str):
    """The error names the entry that is wrong."""
    with pytest.raises(OptionError, match=words):
        health_check(config)
