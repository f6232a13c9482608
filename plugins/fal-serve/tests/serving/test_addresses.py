"""The address that a service listens on where none is given."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from fal_serve.serving.addresses import default_address, has_own_network, is_contained

SCRIPT = """
from fal_serve.serving.addresses import default_address, has_own_network
print(has_own_network(), default_address())
"""


def ask_in(*wrapper: str, **variables: str) -> list[str]:
    """Return what a process behind *wrapper* finds, or skip where it cannot be started."""
    kept = {
        name: value for name, value in os.environ.items() if name != "KUBERNETES_SERVICE_HOST"
    }
    done = subprocess.run(
        [*wrapper, sys.executable, "-c", SCRIPT],
        env={**kept, "container": "", **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )
    if done.returncode and done.stderr.startswith("unshare:"):
        pytest.skip(done.stderr)
    assert not done.returncode, done.stderr
    return done.stdout.split()


@pytest.mark.skipif(
    is_contained() or has_own_network(), reason="The tests run in a container themselves."
)
def test_machine_has_its_loopback_address():
    """On a machine nothing is open to others unless it is asked for."""
    assert default_address() == "127.0.0.1"


@pytest.mark.parametrize(
    "variables", [{"container": "podman"}, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}]
)
def test_container_has_all_its_addresses(variables: dict[str, str]):
    """A container is reached through the addresses that its maker has given it."""
    assert ask_in(**variables)[1] == "0.0.0.0"


@pytest.mark.skipif(not shutil.which("unshare"), reason="There is no unshare.")
@pytest.mark.parametrize(
    "kinds", [["--net"], ["--user", "--net"], ["--user", "--map-root-user", "--net"]]
)
def test_network_of_its_own_has_all_its_addresses(kinds: list[str]):
    """A network namespace is told from that of the machine, also in a user namespace."""
    assert ask_in("unshare", *kinds) == ["True", "0.0.0.0"]


@pytest.mark.skipif(not shutil.which("unshare"), reason="There is no unshare.")
@pytest.mark.skipif(
    is_contained() or has_own_network(), reason="The tests run in a container themselves."
)
@pytest.mark.parametrize("kinds", [["--user"], ["--uts", "--ipc"], ["--pid", "--fork"]])
def test_other_namespaces_have_the_network_of_the_machine(kinds: list[str]):
    """A process that shares the machine's network does not open it to others."""
    assert ask_in("unshare", *kinds) == ["False", "127.0.0.1"]
