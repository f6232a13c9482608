"""The command ``profile``."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def test_profiles_are_managed(
    run: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
):
    """A profile keeps an address and a key, and no command prints the key."""
    monkeypatch.setenv("FAL_CONFIG_PATH", str(tmp_path / "config.toml"))
    monkeypatch.setattr("sys.stdin", io.StringIO("id:very-secret\n" * 3))
    assert run("profile", "key") == 1
    assert run("profile", "set", "work") == 0
    assert run("profile", "address", "api.work.test") == 0
    assert run("profile", "key") == 0
    assert run("profile", "list", "--json") == 0
    printed = capsys.readouterr()
    assert "very-secret" not in printed.out + printed.err
    assert '"has_key": true' in printed.out
    assert '"current": true' in printed.out
    assert 'key = "id:very-secret"' in (tmp_path / "config.toml").read_text()
    assert run("profile", "list") == 0
    assert "work *" in capsys.readouterr().out
    for arguments, facts in (
        (("address", "api.work.test"), {"address": "api.work.test"}),
        # As fal's own command line has it.
        (("host", "api.work.test"), {"address": "api.work.test"}),
        (("key",), {"has_key": True}),
        (("set", "work"), {"current": "work"}),
        (("unset",), {"current": None}),
        (("delete", "work"), {"deleted": "work"}),
    ):
        assert run("profile", *arguments, "--json") == 0
        assert json.loads(capsys.readouterr().out) == facts
    assert run("profile", "set", "work") == 0
    assert run("profile", "unset") == 0
    assert run("profile", "delete", "work") == 0
    assert run("profile", "delete", "work") == 1
    assert "no profile 'work'" in capsys.readouterr().err
