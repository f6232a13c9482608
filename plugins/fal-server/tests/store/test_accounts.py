"""Accounts: nicknames, and who is a member of which team."""

from __future__ import annotations

import pytest

from fal_server.errors import AlreadyExists, Invalid, NotFound
from fal_server.state.databases import Database
from fal_server.store.accounts import (
    add_member,
    find_account,
    is_member,
    list_accounts,
    make_account,
    members_of,
    teams_of,
)


@pytest.mark.parametrize(
    "nickname",
    ["", "A", "-a", "a-", "a_b", "a.b", "a/b", "a\n", "ä", "a" * 64, "workflows", "storage"],
)
def test_nickname_that_cannot_be_part_of_a_url(database: Database, nickname: str):
    """A nickname stands in URLs, where some words have another meaning."""
    with pytest.raises(Invalid, match="is not a valid nickname"):
        database.write_here(lambda it: make_account(it, "user", nickname))
    assert database.read_here(list_accounts) == []


@pytest.mark.parametrize("nickname", ["a", "7", "a-b", "a" * 63, "workflows2"])
def test_account_is_found_by_its_nickname_and_its_id(database: Database, nickname: str):
    """An account is found as it was made, by its nickname and by its id."""
    made = database.write_here(lambda it: make_account(it, "team", nickname))
    assert made.id.startswith("team|")
    assert made.full_name == nickname
    assert database.read_here(lambda it: find_account(it, nickname=nickname)) == made
    assert database.read_here(lambda it: find_account(it, id=made.id)) == made
    assert database.read_here(lambda it: find_account(it, id=nickname)) is None


def test_nickname_is_taken_once(database: Database):
    """Users and teams share their nicknames, and the oldest account is listed first."""
    first, second = (
        database.write_here(lambda it, name=name: make_account(it, "user", name))
        for name in ("zoe", "ann")
    )
    with pytest.raises(AlreadyExists, match="'zoe'"):
        database.write_here(lambda it: make_account(it, "team", "zoe"))
    assert database.read_here(list_accounts) == [first, second]


def test_members_of_teams(database: Database):
    """
    A user may be a member of several teams, and a team has several members; both are
    listed by nickname.
    """

    def make(connection):
        for kind, name in (("user", "bob"), ("user", "ann"), ("team", "y"), ("team", "x")):
            make_account(connection, kind, name)
        for team, user in (("y", "bob"), ("x", "bob"), ("y", "ann")):
            add_member(connection, team, user)

    database.write_here(make)
    found = {it.nickname: it for it in database.read_here(list_accounts)}
    bob, ann, x, y = (found[name] for name in ("bob", "ann", "x", "y"))
    assert database.read_here(lambda it: teams_of(it, bob.id)) == [x, y]
    assert database.read_here(lambda it: members_of(it, y.id)) == [ann, bob]
    assert database.read_here(lambda it: is_member(it, x.id, bob.id))
    assert not database.read_here(lambda it: is_member(it, x.id, ann.id))


@pytest.mark.parametrize(
    ("team", "user", "error", "sentence"),
    [
        ("none", "ann", NotFound, "There is no team 'none'."),
        ("ann", "ann", NotFound, "There is no team 'ann'."),
        ("x", "x", NotFound, "There is no user 'x'."),
        ("x", "none", NotFound, "There is no user 'none'."),
        ("x", "bob", AlreadyExists, "'bob' is a member of 'x' already."),
    ],
)
def test_member_that_cannot_be_added(database: Database, team, user, error, sentence):
    """
    Only a user becomes a member, only of a team, and only once; the error names what is
    wrong.
    """

    def make(connection):
        for kind, name in (("user", "ann"), ("user", "bob"), ("team", "x")):
            make_account(connection, kind, name)
        add_member(connection, "x", "bob")

    database.write_here(make)
    with pytest.raises(error) as caught:
        database.write_here(lambda it: add_member(it, team, user))
    assert str(caught.value) == sentence
