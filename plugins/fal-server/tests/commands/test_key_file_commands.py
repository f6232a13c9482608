"""The command that makes another key in place of one that is lost."""

from __future__ import annotations

import pytest
from isolate_proto import ListSecretsRequest, SetSecretRequest


@pytest.mark.parametrize("name", ["secrets.key", "signing.key", "webhooks.key"])
def test_lost_key_is_replaced(start_program, server, make_plane, name):
    """
    A server says in one sentence that a key is lost, and starts with another one after the
    command that the sentence names. What the lost one protected is gone.
    """
    plane = make_plane()
    plane.call("SetSecret", SetSecretRequest(name="A", value="1"))
    plane.close()
    (plane.directory.path / name).unlink()
    program = start_program()
    assert program.process.wait(60) == 1
    [told] = program.errors.read_text().splitlines()
    assert f"replace-key {name}" in told

    said, _ = server("replace-key", name)
    assert ("1 secret was removed" in said) is (name == "secrets.key")
    again = make_plane()
    listed = again.call("ListSecrets", ListSecretsRequest()).secrets
    assert len(listed) == (name != "secrets.key")
    again.close()
    start_program().wait_until_ready()
    assert "already" in server("replace-key", name, code=1)[1]


def test_lost_key_of_the_first_user_is_told(start_program, server, tmp_path):
    """
    The server starts without the file of the first key, and says how to make another, as
    does the command that prints the variables.
    """
    program = start_program()
    key = program.wait_until_ready()["FAL_KEY"]
    file = tmp_path / "data" / "owner.key"
    for content in (key[:-1], "", None):
        file.write_text(content) if content is not None else file.unlink()
        printed, told = server("env")
        assert "FAL_KEY" not in printed
        assert "owner.key has no whole key" in told
        assert "keys create" in told
    program.end()
    again = start_program()
    again.wait_until_ready()
    assert any("has no whole key" in line for line in again.lines)
    made, _ = server("keys", "create", "owner")
    file.write_text(made)
    assert f"FAL_KEY={made}" in server("env")[0]
