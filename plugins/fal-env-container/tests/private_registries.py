"""A registry of the tests' own, which asks for a password."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest

from fal_testing.harness.processes import wait_until

USER, PASSWORD = "reader", "hidden-password"

_CONFIG = """\
version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {folder}/data}}}}
http: {{addr: "{address}", secret: x}}
auth: {{htpasswd: {{realm: tests, path: {folder}/htpasswd}}}}
"""


@attrs.frozen
class PrivateRegistry:
    """A registry on this machine, with its settings in *folder*."""

    address: str
    folder: Path

    @property
    def variables(self) -> Mapping[str, str]:
        """
        The environment variables with which Podman speaks to it without TLS, and keeps
        logins apart.
        """
        return {
            "CONTAINERS_REGISTRIES_CONF": str(self.folder / "registries.conf"),
            "REGISTRY_AUTH_FILE": str(self.folder / "auth.json"),
        }

    def take(self, engine: Any, image: str) -> str:
        """Take *image* of *engine*, and return the name under which the registry alone has it."""
        name = f"{self.address}/tests/private:1"
        engine.run("tag", image, name)
        engine.run("push", "--quiet", "--creds", f"{USER}:{PASSWORD}", name)
        engine.run("untag", name, name)
        return name


@contextmanager
def open_registry(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[PrivateRegistry]:
    """
    Run a registry that keeps everything in the new directory *folder*, for engines that are
    started meanwhile. The test is skipped where there is none.
    """
    for program in ("docker-registry", "htpasswd"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    folder.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    (folder / "config.yml").write_text(_CONFIG.format(folder=folder, address=address))
    made = subprocess.run(
        ["htpasswd", "-Bbn", "-C", "4", USER, PASSWORD],
        capture_output=True,
        text=True,
        check=True,
    )
    (folder / "htpasswd").write_text(made.stdout)
    settings = f'[[registry]]\nlocation = "{address}"\ninsecure = true\n'
    (folder / "registries.conf").write_text(settings)
    registry = PrivateRegistry(address, folder)
    # It takes variables of that prefix for its own settings.
    variables = {
        name: value for name, value in os.environ.items() if not name.startswith("REGISTRY_")
    }
    for name, value in registry.variables.items():
        patch.setenv(name, value)
    command = ["docker-registry", "serve", str(folder / "config.yml")]
    with subprocess.Popen(command, env=variables, stderr=subprocess.DEVNULL) as process:
        try:
            assert wait_until(lambda: _answers(address), 60)
            yield registry
        finally:
            process.terminate()


def _answers(address: str) -> bool:
    host, _, port = address.partition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0
