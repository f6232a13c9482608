"""Loading gRPC."""

from __future__ import annotations

import subprocess
import sys

import pytest

#: Prints what the variable is when gRPC is loaded, and after a statement that may fail.
PROGRAM = """
import os
import sys

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "grpc":
            print("loaded with", os.environ.get("GRPC_VERBOSITY"))

sys.meta_path.insert(0, Watch())
try:
    {statement}
finally:
    print("GRPC_VERBOSITY" in os.environ)
"""


@pytest.mark.parametrize(
    "statement",
    [
        "from fal_host_serverless.wire import channels; channels.stub('127.0.0.1:1')",
        "from fal_host_serverless.wire import channels; channels.options()",
        "from fal_host_serverless.wire import channels; channels.security()",
        "import asyncio; from fal_host_serverless import AsyncServerlessClient as Client; "
        "asyncio.run(Client('127.0.0.1:1').perform(None))",
    ],
)
def test_grpc_is_loaded_to_write_errors_alone(statement: str, monkeypatch: pytest.MonkeyPatch):
    """
    Whatever uses gRPC first, it is loaded so that it writes errors alone, and the variable
    that says so does not stay.
    """
    monkeypatch.delenv("GRPC_VERBOSITY", raising=False)
    program = PROGRAM.format(statement=statement)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.splitlines() == ["loaded with ERROR", "False"], done.stderr
