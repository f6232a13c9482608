"""The host without a cluster: its addresses, what is asked of Ray, and what is refused."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fal_core import function
from fal_core.errors import HostError, OptionError
from fal_core.hooks import hookimpl
from fal_core.machines import Machine
from fal_core.plugins import registered
from fal_core.plugins.installed import make_host
from fal_core_worker.serving.ports import free_port
from fal_host_ray import RayHost, RayOptions
from fal_host_ray.options import find_machines, resources_of


class Machines:
    """Knows one machine type."""

    fal_core_api = 1

    @hookimpl
    def fal_resolve_machine(self, machine_type: str) -> Machine | None:
        known = Machine(name="two", cpus=8, memory=1 << 30, gpus=2, gpu_model="A100 80GB")
        return known if machine_type == "two" else None


@pytest.fixture
def machines() -> Iterator[None]:
    with registered(Machines()):
        yield


def one() -> int:
    return 1


def call(host: RayHost) -> int:
    try:
        return function("current", host=host)(one)()
    finally:
        host.close()


def test_a_url_names_the_cluster() -> None:
    """The whole URL is what Ray is told; one without an address is an error."""
    host = make_host("ray://head:10001")
    assert isinstance(host, RayHost)
    assert host.address == "ray://head:10001"
    with pytest.raises(OptionError, match="names no cluster"):
        make_host("ray://")


@pytest.mark.usefixtures("machines")
def test_a_machine_is_what_ray_is_asked_for() -> None:
    """
    The sizes of a machine type become resources of Ray, and its GPU a label; options that say
    more come first.
    """
    [machine] = find_machines(RayOptions(machine_type="two"))
    assert resources_of(RayOptions(), machine) == {
        "cpus": 8,
        "gpus": 2,
        "memory": 1 << 30,
        "labels": {"ray.io/accelerator-type": "A100-80GB"},
        "custom": {},
    }
    options = RayOptions(
        num_gpus=1,
        ray_cpus=0.5,
        ray_labels={"ray.io/accelerator-type": "A100"},
        ray_resources={"TPU": 4},
    )
    asked = resources_of(options, machine)
    assert (asked["cpus"], asked["gpus"], asked["custom"]) == (0.5, 1, {"TPU": 4})
    assert asked["labels"] == {"ray.io/accelerator-type": "A100"}
    assert resources_of(RayOptions(), None)["cpus"] == 1


def test_what_is_unknown_is_refused_before_anything_is_started() -> None:
    """A machine type that no plugin knows, and a secret that is not set, are errors at once."""
    host = RayHost("127.0.0.1:1")
    with pytest.raises(OptionError, match="no-such-machine"):
        function("current", host=host, machine_type="no-such-machine")(one)()
    with pytest.raises(OptionError, match="FAL_RAY_NO_SUCH_SECRET"):
        function("current", host=host, secrets=["FAL_RAY_NO_SUCH_SECRET"])(one)()


def test_secrets_are_found_in_the_project(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A secret that is no variable is read from the ``.env`` of the project."""
    from fal_host_ray.variables import resolve_secrets

    (tmp_path / "pyproject.toml").touch()
    (tmp_path / ".env").write_text("FAL_RAY_TOKEN=written\n")
    inner = tmp_path / "inner"
    inner.mkdir()
    monkeypatch.chdir(inner)
    assert resolve_secrets(["FAL_RAY_TOKEN"]) == {"FAL_RAY_TOKEN": "written"}
    monkeypatch.setenv("FAL_RAY_TOKEN", "set")
    assert resolve_secrets(["FAL_RAY_TOKEN"]) == {"FAL_RAY_TOKEN": "set"}


@pytest.mark.parametrize(
    ("python", "said"),
    [("/no/such/python", "No such file"), (sys.executable, "There is no Ray in")],
)
def test_a_python_without_ray_is_named(
    python: str, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The error for a Python that has no Ray names that Python, and what to do."""
    if python == sys.executable:
        # One whose packages nobody has installed.
        import venv

        venv.create(tmp_path / "bare", symlinks=True)
        python = str(tmp_path / "bare/bin/python")
    with pytest.raises(HostError, match=said) as caught:
        call(RayHost("127.0.0.1:1", python=python))
    assert python in str(caught.value)


def test_no_ray_at_all_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where neither this Python nor another one has Ray, the error names the variable."""
    import importlib.util

    if importlib.util.find_spec("ray") is not None:
        pytest.skip("This Python has Ray.")
    monkeypatch.delenv("FAL_RAY_PYTHON", raising=False)
    with pytest.raises(HostError, match="FAL_RAY_PYTHON"):
        call(RayHost())


def test_an_address_where_nobody_listens_is_an_error_at_once(ray_python: str) -> None:
    """The error names the address, which Ray itself would look at for minutes."""
    port = free_port()
    for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}"):
        with pytest.raises(HostError, match=f"127.0.0.1:{port} cannot be connected to"):
            call(RayHost(address, python=ray_python))
    with pytest.raises(HostError, match="Invalid address"):
        call(RayHost("nonsense", python=ray_python))


def test_the_copy_of_a_host_has_workers_of_its_own() -> None:
    """A host travels with its address, and without what it has started."""
    import pickle

    copy: Any = pickle.loads(pickle.dumps(RayHost("auto", python="/a/python")))
    assert (copy.address, copy.python, copy.worker_count) == ("auto", "/a/python", 0)
