"""
The log of a build.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fal_env_virtualenv import Virtualenv

if TYPE_CHECKING:
    from conftest import Builder


def test_build_is_logged_and_found_again(build: Builder) -> None:
    """
    The builder's lines are logs; an environment that is there logs nothing.
    """
    environment = Virtualenv(requirements=["gamma"])
    first = build(environment)
    assert {(line.level, line.source) for line in build.logs} == {("INFO", "BUILDER")}
    assert all(line.time > 0 for line in build.logs)
    assert " + gamma==3.1" in build.messages
    assert not any("\x1b" in message or "\r" in message for message in build.messages)
    assert build(Virtualenv(requirements=[["gamma"]])) == first
    assert build.logs == []
