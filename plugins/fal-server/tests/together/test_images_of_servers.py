"""The image of a server: it is built from wheels, and runs what it is there for."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.faults,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(
        os.environ.get("FAL_CORE_FAULTS") != "all",
        reason="It takes minutes: FAL_CORE_FAULTS=all builds it.",
    ),
]

ROOT = Path(__file__).resolve().parents[4]

#: What the file takes its Python from.
BASE = "docker.io/library/python:3-slim"

#: How the index is reached where its certificate is one of this machine.
_CERTIFICATES = "/etc/ssl/certs"


@pytest.fixture(scope="module")
def image(engine: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The image of a server, on the Python of the tests."""
    context = tmp_path_factory.mktemp("context")
    wheels = [sys.executable, "-m", "uv", "build", "--all-packages", "--wheel", "--quiet"]
    subprocess.run([*wheels, "--out-dir", str(context / "dist")], cwd=ROOT, check=True)
    command = [
        *("podman", "build", "--network=host", "--pull=never", "--quiet"),
        *("--volume", f"{_CERTIFICATES}:{_CERTIFICATES}:ro"),
        *("--env", f"PIP_CERT={_CERTIFICATES}/ca-certificates.crt"),
        *("--build-arg", f"BASE={BASE}", "--build-arg", "PACKAGES="),
        *("--file", str(ROOT / "docs/deployment/Containerfile")),
        *("--tag", "localhost/fal-core-server", str(context)),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return "localhost/fal-core-server"


@pytest.fixture
def running(engine: Any, image: str) -> Iterator[str]:
    """A container of the image."""
    made = engine.run("run", "--detach", "--init", "--network=none", image)
    yield made
    engine.run("rm", "--force", "--time=0", made)


def test_server_in_a_container(engine: Any, running: str, settle: Any):
    """
    The server starts as a user without rights, has keys made in its container, and ends as it
    is told.
    """
    settle(lambda: "# Ready" in engine.run("logs", running))
    words = ("fal-core", "server", "keys", "create", "owner", "--data", "/data/server")
    assert ":" in engine.run("exec", running, *words)
    assert engine.run("exec", running, "cat", "/proc/1/status").count("\t10001\t")
    engine.run("stop", "--time=60", running)
    assert engine.run("inspect", "--format={{.State.ExitCode}}", running) == "0"
