"""Key files: a key that is lost is told, and never replaced unasked."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path

import pytest
from isolate_proto import SetSecretRequest

from fal_server.access.key_files import KEY_FILES
from fal_server.errors import KeyLost
from fal_server.plane import ControlPlane
from fal_server.settings import ServerSettings


def create(data: Path) -> None:
    """Make a control plane that is not started."""

    async def main() -> None:
        ControlPlane.create(ServerSettings(data=data)).database.close()

    asyncio.run(main())


def spoil(file: Path, fault: str) -> None:
    if fault == "missing":
        file.unlink()
    else:
        file.write_bytes({"empty": b"", "cut": file.read_bytes()[:7]}[fault])


@pytest.mark.parametrize("fault", ["missing", "empty", "cut"])
@pytest.mark.parametrize("name", sorted(KEY_FILES))
def test_lost_key_is_told(tmp_path: Path, name: str, fault: str):
    """
    A server whose key is missing, empty or cut does not start, says what to do, and leaves
    the file as it is.
    """
    data = tmp_path / "data"
    create(data)
    spoil(data / name, fault)
    left = {each.name: each.read_bytes() for each in data.glob("*.key")}
    with pytest.raises(KeyLost, match=f"{name}.*Put a copy of it there.*replace-key {name}"):
        create(data)
    assert {each.name: each.read_bytes() for each in data.glob("*.key")} == left


def test_key_of_other_secrets_is_told(make_plane):
    """A key with which the secrets that there are cannot be decrypted is not accepted."""
    plane = make_plane()
    plane.call("SetSecret", SetSecretRequest(name="A", value="1"))
    plane.close()
    file = plane.directory.path / "secrets.key"
    right = file.read_bytes()
    file.write_bytes(secrets.token_bytes(32))
    with pytest.raises(KeyLost, match="is not the key with which"):
        create(plane.directory.path)
    file.write_bytes(right)
    create(plane.directory.path)


def test_start_that_was_killed_before_there_was_an_account(tmp_path: Path):
    """Keys that a first start has left, which was killed before it made an account, are used."""
    data = tmp_path / "data"
    create(data)
    kept = (data / "secrets.key").read_bytes()
    for name in ("state.db", "state.db-wal", "state.db-shm", "owner.key"):
        (data / name).unlink(missing_ok=True)
    create(data)
    assert (data / "secrets.key").read_bytes() == kept
