"""Profiles, and the file that keeps them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fal_core.errors import FalServerlessError
from fal_host_serverless.account import profiles


def test_written_profiles_are_read_again(config: Path):
    """A profile is written with all its values, readable only by its owner."""
    known = profiles.read()
    known.tables['new "one"'] = {"key": "a:b\\c", "nested": {"deep": [1, 2.5, True]}}
    known.choose("home")
    known.write()
    again = profiles.read()
    assert again.tables == known.tables
    assert again.current == "home"
    assert config.stat().st_mode & 0o077 == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="Only root makes directories of other users.")
def test_profiles_in_a_directory_of_another_user(config: Path):
    """A key is not written where another user could replace it, or the address beside it."""
    known = profiles.read()
    before = config.read_bytes()
    os.chown(config.parent, 54321, 54321)
    with pytest.raises(FalServerlessError, match=r"another user.*FAL_CONFIG_PATH"):
        known.write()
    assert config.read_bytes() == before
