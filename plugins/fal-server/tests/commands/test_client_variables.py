"""
``fal-core server env``: the variables that point clients at a server.
"""

from __future__ import annotations

import json
from pathlib import Path


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
    """
    Without a server there is nothing to print.
    """
    assert "No server has run on" in server("env", code=1)[1]
