"""Fixtures of the tests of the commands."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

FAL_CORE = ("-m", "fal_core.cli", "server")


@pytest.fixture
def server(tmp_path):
    """Run a command of the group, and return its output and its errors."""

    def run(*arguments: str, code: int = 0) -> tuple[str, str]:
        done = subprocess.run(
            [sys.executable, *FAL_CORE, *arguments, "--data", str(tmp_path / "data")],
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout.strip(), done.stderr

    return run


@pytest.fixture(scope="session")
def current() -> Callable[..., Any]:
    """A function that returns the account of a key, as a server sees it."""

    def account_of(variables: Any, key: str = "") -> Any:
        request = urllib.request.Request(
            f"http://{variables['FAL_REST_HOST']}/users/current",
            headers={"Authorization": f"Key {key or variables['FAL_KEY']}"},
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=60) as answer:
            return json.load(answer)

    return account_of
