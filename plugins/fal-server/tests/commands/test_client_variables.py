"""``fal-core server env``: the variables that point clients at a server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fal_server.commands.client_variables import read_listeners
from fal_server.errors import ServerError


def test_env_prints_the_variables_again(start_program, server):
    """
    ``env`` prints the same variables as ``start``, for a shell or as JSON; with ``--tls``
    none of them asks for plain text.
    """
    variables = start_program().wait_until_ready()
    assert json.loads(server("env", "--json")[0]) == variables
    lines = server("env")[0].splitlines()
    assert lines == [f"export {name}={value}" for name, value in variables.items()]
    tls = json.loads(server("env", "--tls", "--json")[0])
    assert "ISOLATE_TEST_MODE" not in tls
    assert tls["FAL_GRPC_HOST"].startswith("localhost:")
    assert Path(tls["GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"]).exists()


def test_env_without_a_server(server):
    """Without a server there is nothing to print."""
    assert "No server has run on" in server("env", code=1)[1]


def test_variables_name_the_listeners_of_a_server():
    """Each listener is where its variable says, or beside the API; HTTPS has a port of its own."""
    named = {"FAL_GRPC_HOST": "[::1]:7001", "FAL_RUN_HOST": "run.example.com", "OTHER": "x"}
    assert read_listeners(named) == {
        "api": ("::1", 7001),
        "run": ("run.example.com", 443),
        "queue": ("::1", 7003),
        "ws": ("::1", 7004),
    }
    assert read_listeners({"FAL_RUN_HOST": "run.example.com"}) == {}
    assert read_listeners({"FAL_REST_HOST": "a:65535"}) == {"api": ("a", 65535)}


@pytest.mark.parametrize("text", ["a:b", "https://a", "a:70000", ":6001", "user@a:6001"])
def test_variable_that_names_no_server(text: str):
    """What is no host and port is named with its variable."""
    with pytest.raises(ServerError, match=r"FAL_REST_HOST is .*not a host and a port"):
        read_listeners({"FAL_REST_HOST": text})
