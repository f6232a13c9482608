"""Real parts: wheels in a directory, and a cache that nothing else uses."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from threading import Event

import attrs
import pytest

from fal_core.events import Log
from fal_uv.installing.indexes import find_indexes
from fal_uv.installing.installers import BuildLog, Installer
from fal_uv.installing.interpreters import installed_versions
from fal_uv.installing.targets import Target
from fal_uv.requirements.pythons import running_python
from fal_uv.testing import write_wheel


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of wheels: alpha 1 and 2, beta that needs alpha 1, native for many Pythons."""
    directory = tmp_path_factory.mktemp("wheels")
    write_wheel(directory, "alpha", "1.0")
    write_wheel(directory, "alpha", "2.0", scripts={"alpha": "alpha:main"})
    write_wheel(directory, "beta", "1.0", requires=["alpha<2"])
    for python in ("cp311-cp311", "cp312-cp312"):
        for platform in (
            "manylinux_2_17_x86_64",
            "manylinux_2_36_x86_64",
            "manylinux_2_28_aarch64",
            "musllinux_1_2_x86_64",
        ):
            write_wheel(directory, "native", "1.0", tag=f"{python}-{platform}")
    return directory


@pytest.fixture
def offline(wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No index but the directory of wheels."""
    for name in list(os.environ):
        if name.startswith(("UV_", "PIP_INDEX", "PIP_EXTRA", "PIP_FIND")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_FIND_LINKS", str(wheels))


@attrs.define
class Installers:
    """Makes installers, and keeps what they log."""

    workspace: Path
    logs: list[Log] = attrs.field(factory=list)

    def __call__(self, target: Target) -> Installer:
        return Installer(
            kind="tested",
            target=target,
            workspace=str(self.workspace),
            indexes=find_indexes(),
            log=BuildLog(self.logs.append),
            cancelled=Event(),
        )


@pytest.fixture
def installer(tmp_path: Path, offline: None) -> Callable[[Target], Installer]:
    (tmp_path / "workspace").mkdir()
    return Installers(tmp_path / "workspace")


@pytest.fixture
def other_python() -> str:
    """The minor version of an installed Python that is not the running one."""
    usual = [version for version in installed_versions() if not version.endswith("t")]
    minors = {".".join(version.split(".")[:2]) for version in usual}
    minors.discard(running_python().minor_version)
    if not minors:
        pytest.skip("only one version of Python is installed")
    return max(minors, key=lambda minor: int(minor.split(".")[1]))
