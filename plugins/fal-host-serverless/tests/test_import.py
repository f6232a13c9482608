"""Modules that are imported, and when."""

from __future__ import annotations

import subprocess
import sys

import pytest

#: What takes long to import, and is of use only where the service is asked.
HEAVY = ("grpc", "isolate_proto", "google.protobuf", "httpx", "fastapi", "cloudpickle")


@pytest.mark.parametrize(
    "statement",
    [
        "import fal_host_serverless.plugin",
        "from fal_host_serverless import FalServerlessHost; FalServerlessHost()",
        "from fal_core.plugins import find_host; find_host('serverless')",
        "from fal_host_serverless import AliasInfo, KeyScope",
    ],
)
def test_declaring_imports_nothing_heavy(statement: str):
    """A host can be looked up and made without importing the modules that requests need."""
    program = (
        f"{statement}\nimport sys\nprint([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True
    )
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == "[]"
