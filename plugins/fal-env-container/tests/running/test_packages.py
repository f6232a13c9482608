"""Packages on top of an image: which requirements share a folder, and how a lost one is filled."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import attrs
import pytest

from fal_core.errors import EnvironmentBuildError
from fal_core.events import Log
from fal_core.stores import prune
from fal_env_container import Container
from fal_env_container.engines import Engine
from fal_env_container.images.built_images import BuiltImage
from fal_env_container.running.package_stores import STORE
from fal_env_container.running.packages import Packages, find_or_install
from fal_env_container.running.pythons import ImagePython
from fal_uv.running.uv import uv_command, uv_variables
from fal_uv.testing import write_project, write_wheel

# No engine runs here: what is installed depends on what it has said of the image.
ENGINE = Engine(
    name="podman", program="podman", version="5", place="here", platform="linux/amd64"
)
PYTHON = ImagePython(
    version="3.12.4", abi="", machine="x86_64", libc="glibc 2.36", installed={}
)

Install = Callable[..., str]


@pytest.fixture
def wheels(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place where packages come from."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    write_wheel(folder, "upper", "1.0", requires=["lower"])
    write_wheel(folder, "lower", "1.0")
    monkeypatch.setenv("UV_FIND_LINKS", str(folder))
    monkeypatch.setenv("UV_NO_INDEX", "1")
    return folder


@pytest.fixture
def install(wheels: Path) -> Install:
    """What installs layers on an image with a Python, and returns their folder."""

    def find(
        *layers: tuple[str, ...],
        image: str = "abc",
        python: ImagePython = PYTHON,
        force: bool = False,
        builds: bool = True,
        **options: Any,
    ) -> str:
        named = BuiltImage(id=image, name=f"{image}:1", platform="linux/amd64")
        asked = Container(image=named.name, requirements=layers, **options).packages
        packages = Packages(image=named, python=python, asked=asked, builds=builds)
        logs: list[Log] = []
        return find_or_install(ENGINE, packages, logs.append, Event(), force=force)

    return find


def versions(folder: str) -> set[str]:
    return {name for name in os.listdir(folder) if name.endswith(".dist-info")}


def test_requirements_that_resolve_alike_share_a_folder(install: Install):
    """A folder belongs to an image, its Python, and what was resolved, however that was written."""
    folder = install(("upper",))
    assert versions(folder) == {"upper-1.0.dist-info", "lower-1.0.dist-info"}
    assert install(("upper>=1", "lower")) == install(("lower",), ("upper",)) == folder
    assert len(STORE.entries()) == 1
    assert install(("lower",)) != folder
    assert install(("upper",), image="def") != folder


def test_versions_of_another_index_are_another_folder(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Where no hash says what a version is, the index that it comes from counts."""
    folder = install(("lower",))
    other = tmp_path / "other"
    other.mkdir()
    write_wheel(other, "lower", "1.0", data=b"other")
    monkeypatch.setenv("UV_FIND_LINKS", str(other))
    assert install(("lower==1.0",)) != folder


def test_a_folder_that_is_lost_is_filled_with_the_same_versions(install: Install, wheels: Path):
    """What was resolved is kept, until it is resolved anew or pruned."""
    folder = install(("upper",))
    write_wheel(wheels, "lower", "2.0")
    shutil.rmtree(os.path.dirname(folder))
    assert install(("upper",)) == folder
    assert "lower-1.0.dist-info" in versions(folder)
    newer = install(("upper",), force=True)
    assert "lower-2.0.dist-info" in versions(newer)
    assert install(("upper",)) == install(("upper",), force=True) == newer
    STORE.release_all()
    assert len(prune([STORE], max_size=0).entries) == 2
    assert os.listdir(os.path.join(STORE.root, "keys")) == []


@pytest.mark.parametrize(
    ("machine", "libc", "tag"),
    [
        ("x86_64", "glibc 2.36", "manylinux_2_28_x86_64"),
        ("x86_64", None, "musllinux_1_2_x86_64"),
        ("aarch64", "glibc 2.31", "manylinux_2_17_aarch64"),
    ],
)
def test_wheels_are_those_of_the_machine_of_the_image(
    install: Install, wheels: Path, machine: str, libc: str | None, tag: str
):
    """The processor, the C library and the version of Python are those of the image."""
    for each in (
        *("manylinux_2_28_x86_64", "manylinux_2_39_x86_64", "musllinux_1_2_x86_64"),
        *("manylinux_2_17_aarch64", "manylinux_2_39_aarch64"),
    ):
        for python in ("cp312-cp312", "cp313-cp313"):
            write_wheel(wheels, "native", "1.0", tag=f"{python}-{each}")
    python = attrs.evolve(PYTHON, machine=machine, libc=libc)
    installed = Path(install(("native",), python=python), "native", "__init__.py")
    assert f"'cp312-cp312-{tag}'" in installed.read_text()


def test_a_package_does_not_say_where_it_comes_from(
    cache: Path, wheels: Path, install: Install
):
    """
    A package of a stranger that claims to come from a file of the machine does not bring that
    file when its folder is filled again.
    """
    private = wheels.parent / "secret"
    private.mkdir()
    claimed = write_wheel(private, "upper", "9.0")
    claim = json.dumps({"url": Path(claimed).as_uri(), "archive_info": {}})
    hostile = write_wheel(wheels, "lower", "2.0")
    with zipfile.ZipFile(hostile, "a") as archive:
        archive.writestr("lower-2.0.data/purelib/upper-9.0.dist-info/direct_url.json", claim)
    folder = install(("lower",), ("lower>=2",), builds=False)
    assert not Path(folder, "upper").exists()
    shutil.rmtree(Path(folder).parent)
    again = install(("lower",), ("lower>=2",), builds=False)
    assert Path(again, "lower").is_dir()
    assert not Path(again, "upper").exists()


def test_names_of_an_image_are_names(install: Install, tmp_path: Path):
    """
    What an image has is told to uv line by line, and no line names a file of this machine,
    which uv would read and show.
    """
    file = tmp_path / "shadow"
    file.write_text("root:hidden:0\n")
    named = (f"-r {file}", "lower", "", "x @ file:///x", "${HOME}")
    python = attrs.evolve(PYTHON, installed=dict.fromkeys(named, "1.0"))
    assert python.installed == {"lower": "1.0"}
    assert versions(install(("upper",), python=python)) == {"upper-1.0.dist-info"}


def test_package_of_the_image_stays_where_its_version_fits(install: Install, wheels: Path):
    """
    What the image has is not installed, unless something that is added needs another version:
    then it is, with what it needs itself.
    """
    write_wheel(wheels, "core", "2.0", requires=["types>=3"])
    write_wheel(wheels, "types", "3.0")
    write_wheel(wheels, "model", "2.0", requires=["core==2.0", "lower>=1"])
    old = attrs.evolve(PYTHON, installed={"Core": "1.0", "types": "2.0", "lower": "1.5"})
    folder = install(("model",), python=old)
    added = {"model-2.0.dist-info", "core-2.0.dist-info", "types-3.0.dist-info"}
    assert versions(folder) == added
    # A folder that is lost is filled with the same.
    shutil.rmtree(os.path.dirname(folder))
    assert versions(install(("model",), python=old)) == added
    new = attrs.evolve(PYTHON, installed={"core": "2.0", "types": "2.0", "lower": "1.5"})
    assert versions(install(("model",), python=new, image="new")) == {"model-2.0.dist-info"}


def test_needs_of_others_do_not_count(install: Install, wheels: Path):
    """
    What is needed by another Python, or by an extra that nobody asked for, does not replace a
    package of the image; what an extra needs that was asked for does.
    """
    needs = ["lower>=2; extra == 'fast'", "lower>=3; python_version < '3'"]
    write_wheel(wheels, "model", "2.0", requires=needs)
    write_wheel(wheels, "lower", "2.0")
    python = attrs.evolve(PYTHON, installed={"lower": "1.0"})
    assert versions(install(("model",), python=python)) == {"model-2.0.dist-info"}
    fast = install(("model[fast]",), python=python)
    assert versions(fast) == {"model-2.0.dist-info", "lower-2.0.dist-info"}


def test_files_of_a_lock_are_installed(
    install: Install, wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A lock is followed on top of an image, and fills a lost folder again without its file."""
    digest = hashlib.sha256((wheels / "lower-1.0-py3-none-any.whl").read_bytes()).hexdigest()
    path = tmp_path / "pylock.toml"
    text = (
        'lock-version = "1.0"\ncreated-by = "test"\n[[packages]]\nname = "lower"\n'
        'version = "1.0"\nwheels = [{ path = "wheels/lower-1.0-py3-none-any.whl", '
        f'hashes = {{ sha256 = "{digest}" }} }}]\n'
    )
    path.write_text(text)
    write_wheel(wheels, "lower", "2.0")
    folder = install((f"-r {path}", "upper"))
    assert versions(folder) == {"upper-1.0.dist-info", "lower-1.0.dist-info"}
    shutil.rmtree(os.path.dirname(folder))
    assert install((f"-r {path}", "upper")) == folder
    assert versions(folder) == {"upper-1.0.dist-info", "lower-1.0.dist-info"}
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    path.write_text(text.replace(digest, "0" * 64))
    with pytest.raises(EnvironmentBuildError, match="Hash mismatch"):
        install((f"-r {path}",))


def test_program_for_another_python_than_that_of_the_image(install: Install, tmp_path: Path):
    """A program that excludes the Python of the image is refused."""
    path = tmp_path / "script.py"
    path.write_text(
        '# /// script\n# requires-python = ">=3.13"\n# dependencies = ["lower"]\n# ///\n'
    )
    with pytest.raises(EnvironmentBuildError, match=r"Python >=3\.13, and the image has 3\.12"):
        install((f"-r {path}",))
    path.write_text(path.read_text().replace("3.13", "3.12"))
    assert versions(install((f"-r {path}",))) == {"lower-1.0.dist-info"}


def test_index_and_constraints_are_those_that_are_declared(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """
    The options that say where packages come from hold on top of an image as they do in a
    virtual environment.
    """
    monkeypatch.delenv("UV_NO_INDEX")
    monkeypatch.setenv("UV_DEFAULT_INDEX", (tmp_path / "nowhere").as_uri())
    page = tmp_path / "simple" / "delta" / "index.html"
    page.parent.mkdir(parents=True)
    wheels = [write_wheel(tmp_path, "delta", version) for version in ("1.0", "2.0")]
    page.write_text("".join(f'<a href="{each.as_uri()}">{each.name}</a>' for each in wheels))
    index = page.parents[1].as_uri()
    assert versions(install(("delta",), index_url=index)) == {"delta-2.0.dist-info"}
    constraints = tmp_path / "constraints.txt"
    constraints.write_text("delta<2")
    older = install(("delta",), extra_index_urls=[index], constraints_file=constraints)
    assert versions(older) == {"delta-1.0.dist-info"}


def test_project_is_built_as_it_is_locked(install: Install, wheels: Path, tmp_path: Path):
    """
    A project is installed with what its lock says, and anew when its sources change: an image
    may not see them.
    """
    folder = tmp_path / "work"
    project = write_project(folder, requires=["lower<2"])
    with (folder / "pyproject.toml").open("a") as file:
        # The lock is for the Python of the image too, whatever uv finds here.
        file.write('requires-python = ">=3.10"\n')
    write_wheel(wheels, "lower", "2.0")
    command = [*uv_command(), "lock", "--quiet"]
    subprocess.run(command, cwd=folder, env=uv_variables(), check=True, timeout=60)
    first = install(project=folder)
    assert versions(first) == {"work-1.5.dist-info", "lower-1.0.dist-info"}
    assert Path(first, "work", "__init__.py").read_text() == "value = 1\n"
    assert install(project=folder / "pyproject.toml") == first
    project.write("value = 2\n")
    second = install(project=folder)
    assert Path(second, "work", "__init__.py").read_text() == "value = 2\n"
