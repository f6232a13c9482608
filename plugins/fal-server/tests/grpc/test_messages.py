"""Protocol messages: times and log lines."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from isolate_proto import HostedRunResult, RegisterApplicationRequest, SetAliasRequest

from fal_core.events import Log
from fal_server.errors import Invalid
from fal_server.grpc.messages import check_choices, line_of, to_log, to_timestamp
from fal_server.logs.log_lines import LogLine


@given(st.integers(0, 4_000_000_000_000_000))
def test_time_keeps_its_microseconds(micros: int):
    """A time arrives with its microseconds, whichever float stands for it."""
    timestamp = to_timestamp(micros / 1_000_000)
    assert timestamp.ToMicroseconds() == micros


@pytest.mark.parametrize(
    ("level", "source"), [("STDOUT", "USER"), ("ERROR", "BUILDER"), ("DEBUG", "BRIDGE")]
)
def test_line_arrives_with_its_level_and_source(level: str, source: str):
    """
    A line is a message with the names of the protocol for its level and its source. Bytes
    that are not UTF-8 are replaced.
    """
    line = LogLine(
        message="höhe \udce9",
        account_id="me",
        application="app",
        runner_id="r",
        level=level,
        source=source,
        time=12.5,
    )
    (message,) = HostedRunResult(logs=[to_log(line)]).logs
    assert message.message == "höhe ?"
    for field, name in (("level", level), ("source", source)):
        names = message.DESCRIPTOR.fields_by_name[field].enum_type.values_by_number
        assert names[getattr(message, field)].name == name
    assert message.timestamp.ToMicroseconds() == 12_500_000


def test_line_of_a_builder():
    """A line of a builder keeps its time, and gets that of now if it has none."""
    line = line_of(Log("built", "ERROR", "BUILDER", 7.0))
    assert (line.message, line.level, line.source, line.time) == (
        "built",
        "ERROR",
        "BUILDER",
        7.0,
    )
    before = time.time()
    assert before <= line_of(Log("built")).time <= time.time()


def test_choice_that_there_is_not():
    """
    A number that stands for nothing is refused where a message names one of a few choices,
    with the names of those that there are; one of another message in it too, or in a list.
    """
    message = RegisterApplicationRequest(auth_mode=2, skip_retry_conditions=[0, 3])
    message.health_check_config.method = 1
    message.environments.add(kind="virtualenv").configuration["a"] = None
    check_choices(message)
    for change, sentence in (
        ({"auth_mode": 7}, "auth_mode is 7, .* PRIVATE, PUBLIC, SHARED"),
        ({"deployment_strategy": 2}, "deployment_strategy is 2, .* RECREATE, ROLLING"),
        ({"skip_retry_conditions": [0, 9]}, "skip_retry_conditions is 9"),
        ({"health_check_config": {"method": 5}}, "method is 5, .* GET, POST"),
    ):
        with pytest.raises(Invalid, match=sentence):
            check_choices(RegisterApplicationRequest(**change))
    with pytest.raises(Invalid, match="auth_mode is 7"):
        check_choices(SetAliasRequest(auth_mode=7))
