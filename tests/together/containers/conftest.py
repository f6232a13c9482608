"""Containers on the host ``local``: Podman with a store of its own, and images of this machine."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fal_core import Cancelled, function
from fal_testing.harness.processes import wait_until

ROOT = Path(__file__).resolve().parents[3]
sys.path.append(str(ROOT / "plugins" / "fal-env-container" / "tests"))

if None in map(importlib.util.find_spec, ("fal_host_local", "fal_env_container")):
    collect_ignore_glob = ["*.py"]
else:
    from docker_daemons import DockerDaemon
    from image_roots import shared_folder
    from local_engines import LocalEngine, make_folder, missing

    from fal_env_container import finding
    from fal_host_local import LocalHost

#: Seconds that a container has to be gone.
PATIENCE = 60

Decorate = Callable[..., Any]


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalEngine]:
    """Podman with a store of its own, which ends with the tests."""
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    engine = LocalEngine(make_folder("fal-podman-"), shared_folder(tmp_path_factory))
    engine.create()
    yield engine
    engine.remove()


@pytest.fixture(scope="module")
def engine(
    store: LocalEngine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalEngine]:
    """The engine, for what the test calls and starts; nothing of it is left at the end."""
    # A proxy that signs anew is none of these tests' matter.
    variables = {**store.variables, "FAL_CORE_CACHE": str(tmp_path_factory.mktemp("cache"))}
    before = dict(os.environ)
    os.environ.update(variables)
    finding.forget()
    yield store
    os.environ.clear()
    os.environ.update(before)
    finding.forget()
    assert wait_until(lambda: not store.containers(), PATIENCE)


@pytest.fixture(scope="module")
def image(engine: LocalEngine) -> str:
    """The name of an image that has a Python."""
    return engine.import_python()


@pytest.fixture(scope="module")
def local(engine: LocalEngine) -> Iterator[LocalHost]:
    """The host, whose workers are warm for all tests of a file."""
    host = LocalHost()
    yield host
    host.close()


@pytest.fixture(scope="module")
def contained(local: LocalHost, image: str) -> Decorate:
    """The decorator for functions in containers of the image with a Python."""

    def decorate(**options: Any) -> Any:
        return function("container", **{"host": local, "image": image, **options})

    return decorate


@pytest.fixture
def cancel_hanging_call(contained: Decorate, engine: LocalEngine) -> Callable[[Any], None]:
    """What runs a call on a host that nothing but its end ends, and cancels it."""

    def cancel(host: Any) -> None:
        @contained(host=host)
        def hang() -> None:
            import ctypes

            open("/tmp/hangs", "w").close()
            # Nothing of ours runs meanwhile.
            ctypes.PyDLL(None).sleep(600)

        info = hang.spawn()
        assert info.future is not None
        assert wait_until(lambda: engine.have_file("/tmp/hangs"), PATIENCE)
        info.cancel()
        with pytest.raises(Cancelled):
            info.future.result(PATIENCE)

    return cancel


@pytest.fixture(scope="session")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerDaemon]:
    """A Docker daemon with an image that has a Python."""
    daemon = DockerDaemon()
    if not daemon.start():
        daemon.remove()
        pytest.skip("No Docker daemon can be started here.")
    daemon.import_python(shared_folder(tmp_path_factory))
    yield daemon
    daemon.remove()


@pytest.fixture
def docker(
    daemon: DockerDaemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[LocalHost]:
    """A host whose containers are those of the daemon."""
    for name, value in daemon.variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("FAL_CORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    finding.forget()
    host = LocalHost()
    yield host
    host.close()
    assert wait_until(lambda: not daemon.left(), PATIENCE)
    finding.forget()
