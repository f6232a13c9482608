"""A client with the login of a user, who acts for a team."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fal_host_serverless")

from fal_core.errors import FalServerlessError


@pytest.fixture
def home(
    tmp_path: Path, launch_program: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """A server with a user and a team, and the login of the user."""
    program = launch_program(tmp_path / "data")
    variables = program.wait_until_ready()
    home = tmp_path / "home"
    for arguments in (
        ("teams", "create", "acme", "--member", "owner"),
        ("login", "owner", "--home", str(home)),
    ):
        command = [sys.executable, "-m", "fal_core.cli", "server", *arguments]
        subprocess.run([*command, "--data", str(program.data)], check=True, capture_output=True)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("FAL_HOME_DIR", str(home))
    monkeypatch.setenv("FAL_CONFIG_PATH", str(tmp_path / "config.toml"))
    yield home
    assert program.end() == 0


def test_login_acts_for_a_team(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A secret that a user sets for a team belongs to the team, not to the user; a client with
    a key always acts for the key's own account.
    """
    from fal_host_serverless import SyncServerlessClient

    monkeypatch.setenv("FAL_FORCE_AUTH_BY_USER", "1")
    SyncServerlessClient(team="Acme").secrets.set("OF_TEAM", "1")
    own, team = SyncServerlessClient(), SyncServerlessClient(team="acme")
    assert [secret.name for secret in team.secrets.list()] == ["OF_TEAM"]
    assert own.secrets.list() == []
    with pytest.raises(FalServerlessError, match=r"no team 'nobody'.*acme, owner"):
        SyncServerlessClient(team="nobody").secrets.list()
    monkeypatch.delenv("FAL_FORCE_AUTH_BY_USER")
    assert SyncServerlessClient(team="acme").secrets.list() == []
