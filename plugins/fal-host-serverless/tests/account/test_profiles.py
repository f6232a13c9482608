"""
Profiles, and the file that keeps them.
"""

from __future__ import annotations

from pathlib import Path

from fal_host_serverless.account import profiles


def test_written_profiles_are_read_again(config: Path):
    """
    A profile is written with all its values, readable only by its owner.
    """
    known = profiles.read()
    known.tables['new "one"'] = {"key": "a:b\\c", "nested": {"deep": [1, 2.5, True]}}
    known.choose("home")
    known.write()
    again = profiles.read()
    assert again.tables == known.tables
    assert again.current == "home"
    assert config.stat().st_mode & 0o077 == 0
