"""The hosts of the matrix: those that are installed, and hosts as third parties write them."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest

from fal_core.hosts import Host
from fal_testing import ProcessHost

ROOT = Path(__file__).resolve().parents[3]

#: Seconds that a law waits where each call has a process of its own, which for an image is a
#: container: on a busy machine each of them takes seconds to start.
EACH_ITS_OWN = 240.0

#: The name and the value of the secret that laws ask for.
Secret = tuple[str, str]


@contextmanager
def variable_as_secret(patch: pytest.MonkeyPatch) -> Iterator[Secret]:
    """Have a secret that is a variable of this process."""
    name, value = "FAL_CORE_LAW_SECRET", f"secret-{os.urandom(8).hex()}"
    patch.setenv(name, value)
    yield name, value


@attrs.frozen(kw_only=True)
class Place:
    """
    A host that is up.

    Attributes:
        program: Lines of Python that make it in another program.

        url: By which another process finds it.

        secret: Makes a secret that it can resolve.

        law_timeout: Seconds that a law waits for something.
    """

    host: Host[..., Any]
    program: str
    url: str = ""
    secret: Callable[[pytest.MonkeyPatch], AbstractContextManager[Secret]] = variable_as_secret
    law_timeout: float = 60.0


@contextmanager
def open_local(folder: Path) -> Iterator[Place]:
    """Open the host ``local``."""
    from fal_host_local import LocalHost

    host = LocalHost()
    program = "from fal_host_local import LocalHost\nhost = LocalHost()"
    yield Place(host=host, program=program, url="local")
    host.close()


@contextmanager
def open_smallest(folder: Path) -> Iterator[Place]:
    """Open the smallest host, which starts the command of an interpreter and does nothing else."""
    host = ProcessHost()
    yield Place(
        host=host,
        program="from fal_testing import ProcessHost\nhost = ProcessHost()",
        law_timeout=EACH_ITS_OWN,
    )
    host.close()


@contextmanager
def open_directory(folder: Path) -> Iterator[Place]:
    """Open the example of a host that detaches work, installed for the processes of laws."""
    information = folder / "site" / "directory_host-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: directory-host\n")
    (information / "entry_points.txt").write_text("[fal_core]\ndirectory = directory_host\n")
    examples = str(ROOT / "examples")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join((str(information.parent), examples)))
        patch.syspath_prepend(examples)
        import directory_host

        host = directory_host.DirectoryHost(folder / "work")
        made = f"DirectoryHost(Path({str(folder / 'work')!r}))"
        yield Place(
            host=host,
            program="from pathlib import Path\nfrom directory_host import DirectoryHost\n"
            f"host = {made}",
            url=f"directory://{folder / 'work'}",
            law_timeout=EACH_ITS_OWN,
        )
        host.close()


@contextmanager
def open_serverless(folder: Path) -> Iterator[Place]:
    """Open the host ``serverless``, connected to a server in a process of its own."""
    sys.path.append(str(ROOT / "plugins" / "fal-server" / "tests"))
    from programs import Program, end_runners

    from fal_host_serverless import FalServerlessHost, SyncServerlessClient

    program = Program(folder / "data")
    variables = program.wait_until_ready()
    address = variables["FAL_GRPC_HOST"]

    @contextmanager
    def secret_of_the_account(patch: pytest.MonkeyPatch) -> Iterator[Secret]:
        name, value = "FAL_CORE_LAW_SECRET", f"secret-{os.urandom(8).hex()}"
        client = SyncServerlessClient(host=address)
        client.secrets.set(name, value, default_exposed=False)
        # A law takes the variable away from the caller.
        patch.setenv(name, "the caller's own")
        yield name, value
        client.secrets.unset(name)

    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        yield Place(
            host=FalServerlessHost(address),
            program="from fal_host_serverless import FalServerlessHost\n"
            f"host = FalServerlessHost({address!r})",
            url=f"serverless://{address}",
            secret=secret_of_the_account,
            law_timeout=EACH_ITS_OWN,
        )
    told = program.errors.read_text()
    code = program.end()
    end_runners(program.data)
    assert code == 0, told
    assert "Traceback" not in told, told


@contextmanager
def open_ray(folder: Path) -> Iterator[Place]:
    """Open the host ``ray``, on a cluster of one node."""
    from fal_host_ray import RayHost
    from fal_host_ray.testing import TWO_NODES, find_ray, shared_cluster

    python = find_ray()
    if python is None:
        pytest.skip("There is no Ray: name a Python that has it with FAL_RAY_PYTHON.")
    # The paths of Ray's sockets must be short.
    place = Path(tempfile.gettempdir()) / f"ray-{os.urandom(4).hex()}"
    with (
        shared_cluster(python, place, nodes=TWO_NODES[:1]) as cluster,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("FAL_RAY_PYTHON", python)
        for name, value in cluster.variables.items():
            patch.setenv(name, value)
        host = RayHost(cluster.address)
        made = f"from fal_host_ray import RayHost\nhost = RayHost({cluster.address!r})"
        yield Place(host=host, program=made, url=cluster.client)
        host.close()


#: How each host is opened, by its name.
PLACES: dict[str, Callable[[Path], AbstractContextManager[Place]]] = {
    "local": open_local,
    "serverless": open_serverless,
    "process": open_smallest,
    "directory": open_directory,
    "ray": open_ray,
}
