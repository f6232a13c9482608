"""How the gateway retries requests, as options and as fields of messages."""

from __future__ import annotations

import json
from typing import Any

import isolate_proto
import pytest

from fal_core.errors import OptionError
from fal_host_serverless.wire.retry_options import retry_conditions, retry_config


def test_conditions_are_numbers_of_the_protocol():
    """Conditions are named in any case, and none are no conditions."""
    known = isolate_proto.RetryCondition
    assert retry_conditions(["timeout", "SERVER_ERROR"]) == [known.TIMEOUT, known.SERVER_ERROR]
    assert retry_conditions(None) == retry_conditions([]) == []
    with pytest.raises(
        OptionError, match=r"names 'boredom'\. There are: timeout, client_error"
    ):
        retry_conditions(["timeout", "boredom"])


def test_counts_are_sent_as_json():
    """The text is the same for equal options, and a negative count is none."""
    config = {"timeout": {"retries": 2}, "server_error": {"retries": -1}}
    sent = retry_config(config)
    assert sent is not None
    assert json.loads(sent) == {"server_error": {"retries": 0}, "timeout": {"retries": 2}}
    assert retry_config(dict(reversed(config.items()))) == sent
    assert retry_config(None) is None
    assert retry_config({}) == "{}"


@pytest.mark.parametrize(
    "config",
    [
        {"boredom": {"retries": 1}},
        {"timeout": 1},
        {"timeout": {}},
        {"timeout": {"retries": "1"}},
        {"timeout": {"retries": True}},
        {"timeout": {"retries": 1, "after": 2}},
    ],
)
def test_counts_of_another_form_are_refused(config: dict[str, Any]):
    """The error shows the entry, and how one is written."""
    ((name, entry),) = config.items()
    with pytest.raises(
        OptionError, match=r"written as in \{'timeout': \{'retries': 1\}\}"
    ) as caught:
        retry_config(config)
    assert str(caught.value).endswith(f"not {name!r}: {entry!r}.")
