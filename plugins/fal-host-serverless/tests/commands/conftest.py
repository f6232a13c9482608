"""Fixtures of the tests of commands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def printed_by(run: Callable[..., int], asking: Any, capsys: Any) -> Callable[[str], str]:
    """Run a command line, which succeeds, and return what it prints."""

    def start(arguments: str) -> str:
        assert run(*arguments.split()) == 0
        printed: str = capsys.readouterr().out
        return printed

    return start


@pytest.fixture
def refused(
    run_beside: Callable[..., tuple[int, str]], recorder: Any, rest: Any
) -> Callable[..., str]:
    """Run a wrong command line, which exits with 2 and sends no request; return its errors."""

    def start(*arguments: str) -> str:
        code, errors = run_beside(*arguments)
        assert code == 2
        assert f"Usage: fal-core {arguments[0]}" in errors
        assert recorder.asked == []
        return errors

    return start
