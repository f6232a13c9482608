"""
The log of a build.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fal_core.events import Log
from fal_env_virtualenv import Virtualenv
from fal_env_virtualenv.building.build_logs import BuildLog

if TYPE_CHECKING:
    from conftest import Builder


def test_build_is_logged_and_found_again(build: Builder) -> None:
    """
    The lines of uv are logged; an environment that exists logs nothing.
    """
    environment = Virtualenv(requirements=["gamma"])
    first = build(environment)
    assert {(line.level, line.source) for line in build.logs} == {("INFO", "BUILDER")}
    assert all(line.time > 0 for line in build.logs)
    assert " + gamma==3.1" in build.messages
    assert not any("\x1b" in message or "\r" in message for message in build.messages)
    assert build(Virtualenv(requirements=[["gamma"]])) == first
    assert build.logs == []


def test_lines_become_events() -> None:
    """
    Warnings of uv have their own level, and credentials are masked.
    """
    events: list[Log] = []
    log = BuildLog(events.append)
    log.write("warning: https://me:hunter2@host/simple is slow")
    log.write("Resolved 3 packages")
    assert [(event.level, event.message) for event in events] == [
        ("WARNING", "warning: https://***@host/simple is slow"),
        ("INFO", "Resolved 3 packages"),
    ]
