"""``fal-core server backup`` and ``restore``."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fal_core.cli.program import cli
from fal_server.plane import ControlPlane
from fal_server.settings import ServerSettings


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(cli, ["server", *map(str, words)])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The directory of a server that has run."""

    async def make() -> None:
        ControlPlane.create(ServerSettings(data=tmp_path / "data")).database.close()

    asyncio.run(make())
    return tmp_path / "data"


def test_backup_and_restore(data: Path, tmp_path: Path):
    """A backup is written once, and restored into an empty directory; both say what it has."""
    file, other = tmp_path / "backup.tar", tmp_path / "other"
    made = run("backup", file, "--data", data)
    assert made.exit_code == 0, made.output
    assert made.output == f"{file} has 2 rows and 0 files in {file.stat().st_size} bytes.\n"
    again = run("backup", file, "--data", data)
    assert again.exit_code == 1
    assert str(again.exception) == f"{file} exists already. Name a new file."
    restored = run("restore", file, "--data", other, "--json")
    assert restored.exit_code == 0, restored.output
    assert json.loads(restored.output) == {"rows": 2, "files": 0}
    assert (other / "owner.key").read_bytes() == (data / "owner.key").read_bytes()
    listed = run("users", "list", "--data", other)
    assert "owner" in listed.output
    used = run("restore", file, "--data", other)
    assert used.exit_code == 1
    assert "has the data of a server already" in str(used.exception)


def test_backup_of_no_server(tmp_path: Path):
    """There is no backup of a directory on which no server has run."""
    done = run("backup", tmp_path / "backup.tar", "--data", tmp_path / "none")
    assert done.exit_code == 1
    assert "No server has run on" in done.output
    assert not (tmp_path / "backup.tar").exists()
