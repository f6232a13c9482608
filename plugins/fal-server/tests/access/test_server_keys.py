"""Server keys: those of servers that share a database, and the key that is kept out of it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from fal_server.access.key_files import KEY_FILES, KeyFiles
from fal_server.access.owners import begin_state
from fal_server.access.server_keys import ServerKeys
from fal_server.claims.kept_keys import state_keys
from fal_server.errors import ServerError, StateKeyLost
from fal_server.plane import ControlPlane
from fal_server.settings import ServerSettings
from fal_server.state.data_directories import DataDirectory
from fal_server.state.databases import open_database
from fal_server.store.accounts import find_account, list_accounts, make_account
from fal_server.store.vaults import Vault


def create(url: str | None, data: Path, secrets_key: Path | None = None) -> ControlPlane:
    """Make a control plane that is not started."""

    async def main() -> ControlPlane:
        settings = ServerSettings(data=data, database=url, secrets_key=secrets_key)
        plane = ControlPlane.create(settings)
        plane.database.close()
        return plane

    return asyncio.run(main())


def keys_in(url: str) -> dict[str, bytes | None]:
    """Return the keys in a state."""
    with open_database(url) as database:
        chosen = sa.select(state_keys.c.name, state_keys.c.value)
        return dict(database.read_here(lambda it: it.execute(chosen).all()))


def set_secret(url: str, key: bytes) -> None:
    """Set a secret of the owner, encrypted with *key*."""
    with open_database(url) as database:
        found = database.read_here(lambda it: find_account(it, nickname="owner"))
        assert found is not None
        asyncio.run(Vault(database, key).set(found.id, "main", "NAME", "value"))


def test_servers_of_one_state_have_its_keys(postgresql_url: str, tmp_path: Path):
    """
    The first server makes the keys and the first user. Others have the same keys, the same
    authority and the same key of the metrics, and no keys in files but these two.
    """
    first, second = [create(postgresql_url, tmp_path / name) for name in ("a", "b")]
    assert first.first_key is not None
    assert second.first_key is None
    kept = keys_in(postgresql_url)
    assert {*KEY_FILES, "authority"} == kept.keys()
    assert len({kept[name] for name in KEY_FILES}) == len(KEY_FILES)
    with open_database(postgresql_url) as database:
        both = [ServerKeys(database, DataDirectory(tmp_path / name)) for name in ("a", "b")]
        for name in KEY_FILES:
            assert [each.read(name) for each in both] == [kept[name]] * 2
        assert both[0].read_metrics_key() == both[1].read_metrics_key()
    for name in ("metrics.key", "tls/ca.pem", "tls/ca.key"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    left = {each.name for each in (tmp_path / "b").rglob("*.key")}
    assert left == {"metrics.key", "ca.key"}
    # It is a directory of a server, also before one has listened.
    with DataDirectory(tmp_path / "b").locked():
        pass


def test_servers_that_begin_at_once(postgresql: object, postgresql_url: str, tmp_path: Path):
    """
    Of several servers that begin with an empty state at the same moment, one makes the keys
    and the first user.
    """

    def begin(number: int) -> tuple[bool, bytes, str]:
        with open_database(postgresql_url) as database:
            directory = DataDirectory(tmp_path / str(number))
            keys = ServerKeys(database, directory)
            made = begin_state(database, directory, keys, "owner")
            keys.share_authority()
            authority = (directory.tls / "ca.pem").read_text()
            return made is not None, keys.read("signing.key"), authority

    with ThreadPoolExecutor(4) as threads:
        began = [*threads.map(begin, range(4))]
    assert sorted(made for made, _, _ in began) == [False, False, False, True]
    assert len({(key, authority) for _, key, authority in began}) == 1
    with open_database(postgresql_url) as database:
        assert [each.nickname for each in database.read_here(list_accounts)] == ["owner"]


def test_key_of_the_state_that_is_lost_is_told(postgresql_url: str, tmp_path: Path):
    """A server does not start where a key of the state is missing, and says what to do."""
    create(postgresql_url, tmp_path / "data")
    with open_database(postgresql_url) as database:
        lost = state_keys.delete().where(state_keys.c.name == "signing.key")
        database.write_here(lambda it: it.execute(lost))
    with pytest.raises(
        StateKeyLost, match=r"signing.key of the state at .* is missing.*replace"
    ):
        create(postgresql_url, tmp_path / "data")


def test_key_files_are_put_into_the_state(postgresql_url: str, tmp_path: Path):
    """Keys in files of the directory of a server that has used the database are put there."""
    directory = DataDirectory(tmp_path / "data")
    KeyFiles(directory).make(KEY_FILES)
    with open_database(postgresql_url) as database:
        database.write_here(lambda it: make_account(it, "user", "owner"))
    create(postgresql_url, directory.path)
    kept = keys_in(postgresql_url)
    assert {name: kept[name] for name in KEY_FILES} == {
        name: (directory.path / name).read_bytes() for name in KEY_FILES
    }


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'kept.db'}"
    found: str = request.getfixturevalue("postgresql_url")
    return found


@pytest.mark.parametrize("write", [bytes, lambda key: f"{key.hex()}\n".encode()])
def test_key_of_secrets_that_is_kept_elsewhere(
    url: str, tmp_path: Path, write: Callable[[bytes], bytes]
):
    """
    The key that encrypts secrets can be in a file of its own. The state has only its digest,
    and refuses another one, and a server that is told of none.
    """
    key, file, data = secrets.token_bytes(32), tmp_path / "key", tmp_path / "data"
    file.write_bytes(write(key))
    for _ in range(2):
        create(url, data, file)
        set_secret(url, key)
    assert keys_in(url)["secrets.key"] is None
    assert not (data / "secrets.key").exists()
    with pytest.raises(ServerError, match=r"kept outside of the state.*'--secrets-key'"):
        create(url, data)
    file.write_bytes(secrets.token_bytes(32))
    with pytest.raises(ServerError, match="key is not the key with which the secrets"):
        create(url, data, file)


def test_key_of_secrets_leaves_the_state(postgresql_url: str, tmp_path: Path):
    """A key that the state has is removed from it by a server that is told of its file."""
    create(postgresql_url, tmp_path / "data")
    key = keys_in(postgresql_url)["secrets.key"]
    assert key is not None
    set_secret(postgresql_url, key)
    file = tmp_path / "key"
    file.write_bytes(secrets.token_bytes(32))
    with pytest.raises(ServerError, match="is not the key with which"):
        create(postgresql_url, tmp_path / "data", file)
    file.write_bytes(key)
    create(postgresql_url, tmp_path / "data", file)
    assert keys_in(postgresql_url)["secrets.key"] is None


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "cannot be read from .*: No such file.*openssl rand -hex 32"),
        (b"", "it must have 32 bytes, or 64 hexadecimal digits"),
        (b"\xff" * 31, "it must have 32 bytes"),
        (b"ab" * 31, "it must have 32 bytes"),
    ],
)
def test_file_that_has_no_key(tmp_path: Path, content: bytes | None, sentence: str):
    """A file without a key is told, and how one is made."""
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ServerError, match=sentence):
        create(None, tmp_path / "data", file)
