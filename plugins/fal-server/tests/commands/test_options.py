"""Commands about a database that servers share, on a machine that has no data directory."""

from __future__ import annotations

import asyncio
import json
import secrets
from pathlib import Path

from click.testing import CliRunner

from fal_server.access.tokens import Tokens
from fal_server.commands.server_commands import server
from fal_server.plane import ControlPlane
from fal_server.settings import ServerSettings


def test_commands_on_any_machine(postgresql_url: str, tmp_path: Path):
    """
    Accounts, keys, logins and lost keys are dealt with on any machine that reaches the
    database; nothing is written to this one.
    """
    runner, data = CliRunner(), str(tmp_path / "data")

    def run(*arguments: str, code: int = 0) -> str:
        variables = {"FAL_SERVER_DATABASE": postgresql_url}
        done = runner.invoke(server, [*arguments, "--data", data], env=variables)
        assert done.exit_code == code, done.output
        return done.output.strip()

    assert "No server has run with this database" in run("users", "list", code=1)

    async def read() -> bytes:
        settings = ServerSettings(data=tmp_path / "elsewhere", database=postgresql_url)
        plane = ControlPlane.create(settings)
        try:
            return plane.keys.read("signing.key")
        finally:
            plane.database.close()

    signing = asyncio.run(read())
    run("users", "create", "bob")
    [owner, bob] = json.loads(run("users", "list", "--json"))
    assert [owner["nickname"], bob["nickname"]] == ["owner", "bob"]
    made = run("keys", "create", "bob")
    assert made.partition(":")[0] in run("keys", "list", "bob")
    token = run("login", "bob")
    assert Tokens(signing).open("login", token)["sub"] == bob["id"]
    assert "webhooks.key in postgresql" in run("replace-key", "webhooks.key")
    file = tmp_path / "key"
    file.write_text(secrets.token_hex(32))
    said = run("replace-key", "secrets.key", "--secrets-key", str(file))
    assert f"{file} is new" in said
    assert not (tmp_path / "data").exists()
