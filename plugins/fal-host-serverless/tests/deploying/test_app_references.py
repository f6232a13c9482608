"""References to applications."""

from __future__ import annotations

from pathlib import Path

import pytest

from fal_core.errors import OptionError
from fal_host_serverless import SyncServerlessClient


@pytest.mark.parametrize(
    ("ref", "words"),
    [
        ("nothing.py::App", "no file nothing.py"),
        ("searching.py", "these isolated functions: Search, double"),
        ("searching.py::Missing", "no 'Missing'"),
        ("search", "no pyproject.toml"),
        (None, "no pyproject.toml"),
    ],
)
def test_unknown_application_is_refused(
    ref: str | None, words: str, asking: SyncServerlessClient, project: Path
):
    """A reference to no application is refused before a request is sent."""
    with pytest.raises(OptionError, match=words):
        asking.deploy(ref)
