"""What packages may know of the machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest

from fal_core.errors import EnvironmentBuildError
from fal_core.machines import Machine
from fal_env_conda import Conda
from fal_env_conda.rattling import machines, processes
from fal_env_conda.rattling.machines import virtual_packages


@pytest.fixture
def other_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remember nothing that this process has detected."""
    monkeypatch.setattr(machines, "_found", {})


@pytest.mark.usefixtures("other_process")
def test_detection_is_kept_for_other_processes(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second process that asks starts no other."""
    found = virtual_packages(None)
    assert any(each.startswith(("__glibc=", "__osx=")) for each in found)
    assert (cache / "machine.json").exists()
    monkeypatch.setattr(machines, "_found", {})
    monkeypatch.setattr(processes, "_CHILD", "/nowhere")
    assert virtual_packages(None) == found


@pytest.mark.usefixtures("other_process")
@pytest.mark.parametrize("content", ["", "{", "[]", '{"stamp": "other", "packages": []}'])
def test_detection_of_another_start_does_not_count(cache: Path, content: str) -> None:
    """What was kept before the machine started again, or is damaged, is detected again."""
    cache.mkdir(parents=True)
    (cache / "machine.json").write_text(content)
    assert any(each.startswith("__") for each in virtual_packages(None))


def test_overrides_have_the_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """``CONDA_OVERRIDE_…`` counts for this machine and for every machine type."""
    monkeypatch.setenv("CONDA_OVERRIDE_CUDA", "12.4")
    monkeypatch.setenv("CONDA_OVERRIDE_GLIBC", "2.17")
    for machine in (None, Machine(name="S"), Machine(name="GPU-A100", gpus=1)):
        found = virtual_packages(machine)
        assert "__cuda=12.4=0" in found
        assert "__glibc=2.17=0" in found


def test_machine_type_without_gpus_has_no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU of the machine that builds is none of the machine type."""
    detected = ("__cuda=12.4=0", "__cuda_arch=8.6=0", "__glibc=2.36=0")
    monkeypatch.setattr(machines, "_found", {machines._stamp(): detected})
    assert virtual_packages(None) == detected
    assert virtual_packages(Machine(name="S")) == ("__glibc=2.36=0",)
    assert virtual_packages(Machine(name="GPU-A100", gpus=1)) == detected


def test_machine_type_says_the_capability(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its compute capability counts, where there is a driver for it."""

    @attrs.frozen(kw_only=True)
    class Stated(Machine):
        compute_capability: str | None = None

    machine: Any = Stated(name="GPU-H100", gpus=1, compute_capability="9.0")
    stamp = machines._stamp()
    monkeypatch.setattr(machines, "_found", {stamp: ("__cuda=12.4=0", "__cuda_arch=8.6=0")})
    assert virtual_packages(machine) == ("__cuda=12.4=0", "__cuda_arch=9.0=0")
    monkeypatch.setattr(machines, "_found", {stamp: ("__glibc=2.36=0",)})
    assert virtual_packages(machine) == ("__glibc=2.36=0",)


@pytest.mark.usefixtures("other_process", "cache")
def test_a_wrong_override_is_an_error_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key of an environment depends on it, so that declarations meet it."""
    monkeypatch.setenv("CONDA_OVERRIDE_GLIBC", "not a version")
    with pytest.raises(EnvironmentBuildError, match="Look at the variables CONDA_OVERRIDE_"):
        _ = Conda(packages=["a"]).key
