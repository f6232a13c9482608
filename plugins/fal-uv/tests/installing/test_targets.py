"""Installing into another Python, and into a folder for a Python that is not here."""

from __future__ import annotations

import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest

from fal_core.errors import EnvironmentBuildError
from fal_uv.installing.indexes import find_indexes
from fal_uv.installing.installers import Installer
from fal_uv.installing.targets import Target, linux_platform
from fal_uv.requirements.entries import parse_entry
from fal_uv.testing import write_project, write_wheel

if TYPE_CHECKING:
    from conftest import Installers

Install = Callable[[Target], Installer]


def facts(folder: Path) -> dict[str, object]:
    """Return what the package ``native`` in *folder* says of itself."""
    found: dict[str, object] = {}
    exec((folder / "native" / "__init__.py").read_text(), found)
    return found


def test_another_python(installer: Install, tmp_path: Path) -> None:
    """Packages are installed into the Python that is named, beside what others put there."""
    venv.create(tmp_path / "prefix", symlinks=True)
    python = tmp_path / "prefix/bin/python"
    script = "import sysconfig; print(sysconfig.get_path('purelib'))"
    library = subprocess.check_output([python, "-c", script], text=True).strip()
    target = Target.of_python(str(python), library)
    installer(target).install([parse_entry("alpha<2")])
    theirs = installer(target).packages()
    assert theirs == ("alpha-1.0.dist-info",)
    installer(target).install([parse_entry("alpha"), parse_entry("beta")])
    code = "import alpha, beta; print(alpha.version, beta.version)"
    assert subprocess.check_output([python, "-c", code], text=True).split() == ["1.0", "1.0"]
    assert installer(target).pins(without=theirs) == ("beta==1.0",)


def test_constraints_of_what_others_installed(installer: Install, tmp_path: Path) -> None:
    """A version that is not among the constraints is refused, and uv's reason says so."""
    target = Target.of_folder(
        str(tmp_path / "folder"),
        python_version="3.12",
        platform=linux_platform("x86_64", glibc=None),
    )
    with pytest.raises(EnvironmentBuildError, match="tested environment") as caught:
        installer(target).install([parse_entry("beta")], constraints=["alpha==2.0"])
    assert "alpha" in caught.value.reason
    installer(target).install([parse_entry("alpha")], constraints=["alpha==1.0"])
    assert installer(target).pins() == ("alpha==1.0",)


@pytest.mark.parametrize(
    ("version", "machine", "glibc", "tag"),
    [
        ("3.12", "x86_64", "2.36", "cp312-cp312-manylinux_2_36_x86_64"),
        ("3.11", "x86_64", "2.35", "cp311-cp311-manylinux_2_17_x86_64"),
        ("3.12", "x86_64", None, "cp312-cp312-musllinux_1_2_x86_64"),
        ("3.11", "aarch64", "2.41", "cp311-cp311-manylinux_2_28_aarch64"),
    ],
)
def test_python_that_is_not_here(
    installer: Install, tmp_path: Path, version: str, machine: str, glibc: str | None, tag: str
) -> None:
    """A folder gets the files for the Python and the platform that are named."""
    folder = tmp_path / "folder"
    platform = linux_platform(machine, glibc=glibc)
    target = Target.of_folder(str(folder), python_version=version, platform=platform)
    installer(target).install([parse_entry("native"), parse_entry("alpha<2")])
    assert facts(folder)["tag"] == tag
    assert installer(target).packages() == ("alpha-1.0.dist-info", "native-1.0.dist-info")
    # A later layer changes nothing, and pins install the same again.
    installer(target).install([parse_entry("alpha"), parse_entry("beta")])
    pins = installer(target).hashed_pins()
    assert pins[:2] == ("alpha==1.0", "beta==1.0")
    again = Target.of_folder(str(tmp_path / "again"), python_version=version, platform=platform)
    installer(again).install_pins(pins)
    assert facts(tmp_path / "again")["tag"] == tag


def test_folder_with_a_local_project(installer: Installers, tmp_path: Path) -> None:
    """A project of this machine is built and installed into the folder."""
    project = write_project(tmp_path / "demo", requires=["alpha<2"])
    platform = linux_platform("x86_64", glibc="2.36")
    target = Target.of_folder(str(tmp_path / "there"), python_version="3.12", platform=platform)
    installer(target).install([parse_entry(str(project.path))])
    assert (tmp_path / "there/demo/__init__.py").read_text() == "value = 1\n"
    assert (tmp_path / "there/alpha").is_dir()
    assert not [line for line in installer.logs if sys.executable in line.message]


def test_flags_of_a_layer(installer: Install, wheels: Path, tmp_path: Path) -> None:
    """Prereleases are taken, and what packages require is left out, in the layer that says so."""
    links = tmp_path / "links"
    links.mkdir()
    write_wheel(links, "gamma", "1.0", requires=["alpha"])
    write_wheel(links, "gamma", "2.0rc1", requires=["alpha"])
    target = Target.of_folder(
        str(tmp_path / "folder"),
        python_version="3.12",
        platform=linux_platform("x86_64", glibc="2.36"),
    )
    found = find_indexes(links=[str(links)])
    flagged = attrs.evolve(installer(target), indexes=found)
    flagged.install([parse_entry("--pre"), parse_entry("--no-deps"), parse_entry("gamma")])
    assert flagged.pins() == ("gamma==2.0rc1",)
    flagged.install([parse_entry("beta"), parse_entry("gamma")])
    assert flagged.pins() == ("alpha==1.0", "beta==1.0", "gamma==2.0rc1")
    flagged.install([parse_entry("--no-deps")])


def test_package_without_a_file_for_the_platform(installer: Install, tmp_path: Path) -> None:
    """A package that has no file for the platform is refused, and the reason names it."""
    target = Target.of_folder(
        str(tmp_path / "folder"),
        python_version="3.13",
        platform=linux_platform("aarch64", glibc="2.36"),
    )
    with pytest.raises(EnvironmentBuildError) as caught:
        installer(target).install([parse_entry("native")])
    assert caught.value.requirement == "native"
    assert caught.value.kind == "tested"


@pytest.mark.parametrize(
    ("glibc", "name"),
    [
        ("2.17", "x86_64-manylinux_2_17"),
        ("2.24", "x86_64-manylinux_2_17"),
        ("2.30", "x86_64-manylinux_2_28"),
        ("2.36", "x86_64-manylinux_2_36"),
        ("2.44", "x86_64-manylinux_2_40"),
    ],
)
def test_platforms_that_uv_knows(glibc: str, name: str) -> None:
    """A C library between two that uv knows takes the files of the older one."""
    assert linux_platform("x86_64", glibc=glibc) == name
