"""Keys: stored without their secrets."""

from __future__ import annotations

import pytest
from isolate_proto import (
    SetSecretRequest,
)

from fal_server.errors import NotFound
from fal_server.state.databases import Database
from fal_server.store.accounts import make_account
from fal_server.store.keys import find_key, list_keys, make_key, revoke_key


def test_no_secret_is_stored_in_plain_text(plane):
    """The database has no secret of a key, and no secret of a user."""
    secret = plane.make_key().partition(":")[2]
    value = "kept-by-nobody-in-plain-text"
    plane.call("SetSecret", SetSecretRequest(name="QUIET", value=value))
    for path in plane.directory.path.glob("state.db*"):
        content = path.read_bytes()
        assert secret.encode() not in content
        assert value.encode() not in content


@pytest.fixture
def owner(database: Database) -> str:
    """The id of an account."""
    return database.write_here(lambda it: make_account(it, "user", "owner")).id


def test_key_opens_with_its_secret_alone(database: Database, owner: str):
    """A key is found with what it was made with, and opens with its secret and no other text."""
    new = database.write_here(lambda it: make_key(it, owner, ["b", "a"], alias="mine"))
    key = database.read_here(lambda it: find_key(it, new.id))
    assert (key.account_id, key.permissions, key.alias) == (owner, {"a", "b"}, "mine")
    assert key.opens_with(new.secret)
    for other in ("", new.secret[:-1], new.secret.upper(), key.hash, "\udce9"):
        assert not key.opens_with(other), other
    assert new.secret not in f"{new} {new!r} {key!r}"
    assert key.hash not in repr(key)


def test_revoked_key_is_kept_and_not_listed(database: Database, owner: str):
    """A key is revoked once, by its own account; it is known afterwards, and not listed."""
    first, second = (
        database.write_here(lambda it: make_key(it, owner, ["a"])) for _ in range(2)
    )
    with pytest.raises(NotFound):
        database.write_here(lambda it: revoke_key(it, "user|other", first.id))
    database.write_here(lambda it: revoke_key(it, owner, first.id))
    with pytest.raises(NotFound):
        database.write_here(lambda it: revoke_key(it, owner, first.id))
    assert [it.id for it in database.read_here(lambda it: list_keys(it, owner))] == [second.id]
    assert database.read_here(lambda it: find_key(it, first.id)).revoked_at is not None
