"""Locks that are written, and environments that are built from them."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from threading import Event
from typing import Any
from urllib.parse import quote

import pytest
import yaml

from fal_core.errors import EnvironmentBuildError
from fal_env_conda import Conda
from fal_env_conda.building.locks import Locked, lock
from fal_env_conda.rattling.platforms import subdir
from fal_uv.testing import write_project, write_wheel


def _lock(environment: Conda) -> Locked:
    return lock(environment.recipe, lambda line: None, Event())


def test_lock_has_the_digest_of_each_file(
    channel: str, channel_folder: Path, wheels: Path
) -> None:
    """It is of version 7, and says where conda's packages and pip's files are."""
    written = _lock(Conda(packages=["alpha-one=1"], channels=[channel], pip=["gamma"]))
    loaded = yaml.safe_load(written.lock)
    assert loaded["version"] == 7
    [platform] = loaded["platforms"]
    assert platform["name"] == subdir()
    assert platform["virtual-packages"]
    packages = {each.get("conda") or each["pypi"]: each for each in loaded["packages"]}
    assert len(packages) == 3
    for location, package in packages.items():
        archive = Path(location.removeprefix("file://"))
        assert package["sha256"] == hashlib.sha256(archive.read_bytes()).hexdigest()
    [wheel] = (each for each in packages.values() if "pypi" in each)
    assert (wheel["name"], wheel["version"]) == ("gamma", "3.1")


def test_explicit_list_has_a_url_for_each_package(channel: str, channel_folder: Path) -> None:
    """It is what conda reads with ``conda create --file``, what others need first."""
    written = _lock(Conda(packages=["alpha-one=1"], channels=[channel]))
    platform, mark, python, alpha = written.explicit.splitlines()
    assert platform == f"# platform: {subdir()}"
    assert mark == "@EXPLICIT"
    assert "/python-3." in python
    archive = channel_folder / "noarch" / "alpha-one-1.0-py_0.tar.bz2"
    digest = hashlib.md5(archive.read_bytes(), usedforsecurity=False).hexdigest()
    assert alpha == f"{archive.as_uri()}#{digest}"


def test_environment_is_built_from_a_lock(
    build: Any, evaluate: Any, channel: str, cache: Path, tmp_path: Path
) -> None:
    """The same packages are installed, and nothing is solved."""
    path = tmp_path / "conda.lock"
    path.write_text(
        _lock(Conda(packages=["alpha-one=1"], channels=[channel], pip=["gamma"])).lock
    )
    shutil.rmtree(cache)
    interpreter = build(Conda(env_yml=path))
    assert evaluate(interpreter, "alpha_one.version", "alpha_one") == "1.0"
    assert evaluate(interpreter, "gamma.version", "gamma") == "3.1"
    assert not any("Solving" in line for line in build.messages)
    again = Conda(env_yml=path, pip=["beta"])
    assert evaluate(build(again), "beta.version", "beta") == "1.0"


def test_file_with_another_digest_is_refused(
    build: Any, channel: str, cache: Path, tmp_path: Path
) -> None:
    """A file of a pip requirement that is not what the lock says is not installed."""
    written = _lock(Conda(channels=[channel], pip=["gamma"])).lock
    [digest] = [
        each["sha256"] for each in yaml.safe_load(written)["packages"] if "pypi" in each
    ]
    path = tmp_path / "conda.lock"
    path.write_text(written.replace(digest, "0" * 64))
    shutil.rmtree(cache)
    with pytest.raises(EnvironmentBuildError, match="gamma"):
        build(Conda(env_yml=path))


def test_package_of_a_folder_with_another_digest_is_refused(
    build: Any, channel: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package of a channel in a folder that is not what the lock says is not installed."""
    written = _lock(Conda(packages=["alpha-one=1"], channels=[channel])).lock
    [digest] = [
        each["sha256"]
        for each in yaml.safe_load(written)["packages"]
        if "alpha-one" in each["conda"]
    ]
    path = tmp_path / "conda.lock"
    path.write_text(written.replace(digest, "0" * 64))
    shutil.rmtree(cache)
    monkeypatch.setenv("RATTLER_CACHE_DIR", str(tmp_path / "rattler"))
    with pytest.raises(EnvironmentBuildError, match=rf"alpha-one.* {digest}, and 0{{64}} was"):
        build(Conda(env_yml=path))


def test_package_of_a_folder_without_its_digest(
    build: Any, channel: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a lock has no SHA-256, the MD5 counts."""
    written = _lock(Conda(packages=["alpha-one=1"], channels=[channel])).lock
    [package] = [
        each for each in yaml.safe_load(written)["packages"] if "alpha-one" in each["conda"]
    ]
    text = written.replace(f"  sha256: {package['sha256']}\n", "")
    text = text.replace(package["md5"], "0" * 32)
    shutil.rmtree(cache)
    monkeypatch.setenv("RATTLER_CACHE_DIR", str(tmp_path / "rattler"))
    with pytest.raises(
        EnvironmentBuildError, match=rf"MD5 is {package['md5']}, and 0{{32}} was"
    ):
        build(Conda(env_yml_str=text))


def test_projects_and_files_are_locked_with_their_versions(
    build: Any, evaluate: Any, channel: str, wheels: Path, cache: Path, tmp_path: Path
) -> None:
    """Those that may be edited too; a file has its digest, also where a lock is locked again."""
    edited, copied = (write_project(tmp_path / name) for name in ("edited", "copied"))
    wheel = wheels / "gamma-3.1-py3-none-any.whl"
    pip = [f"-e {edited.path}", str(copied.path), str(wheel)]
    written = _lock(Conda(channels=[channel], pip=pip)).lock
    packages = {
        each["name"]: each for each in yaml.safe_load(written)["packages"] if "pypi" in each
    }
    versions = {name: each["version"] for name, each in packages.items()}
    assert versions == {"edited": "1.5", "copied": "1.5", "gamma": "3.1"}
    assert packages["edited"]["pypi"] == edited.path.as_uri()
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    assert packages["gamma"]["sha256"] == digest

    shutil.rmtree(cache)
    environment = Conda(env_yml_str=written)
    assert evaluate(build(environment), "edited.value", "edited") == "1"
    [again] = [
        each
        for each in yaml.safe_load(_lock(environment).lock)["packages"]
        if each.get("name") == "gamma"
    ]
    assert again["sha256"] == digest


def test_wheel_of_a_local_version_is_locked(
    channel: str, serve: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its URL has the plus quoted, as those of builds for CUDA have."""
    found = tmp_path / "found"
    found.mkdir()
    wheel = write_wheel(found, "fast", "1.0+cu124")
    (found / "index.html").write_text(f'<a href="{quote(wheel.name)}">{wheel.name}</a>')
    monkeypatch.setenv("UV_FIND_LINKS", f"http://{serve(found).host}/index.html")
    written = _lock(Conda(channels=[channel], pip=["fast"])).lock
    [fast] = [each for each in yaml.safe_load(written)["packages"] if "pypi" in each]
    assert fast["version"] == "1.0+cu124"
    assert fast["pypi"].endswith("/fast-1.0%2Bcu124-py3-none-any.whl")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("  default:", "  other:", "no environment 'default', but other"),
        (subdir(), "win-64", "but for win-64"),
    ],
)
def test_lock_without_what_is_needed(
    build: Any, channel: str, tmp_path: Path, old: str, new: str, says: str
) -> None:
    """The error says what the lock has instead."""
    written = _lock(Conda(channels=[channel])).lock
    with pytest.raises(EnvironmentBuildError, match=says):
        build(Conda(env_yml_str=written.replace(old, new)))


def test_lock_of_another_machine_type(
    build: Any, channel: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Packages that need what this machine has not are refused by name, unless it is said to
    have it; a lock without them is built on either.
    """
    monkeypatch.setenv("CONDA_OVERRIDE_CUDA", "12.4")
    with_gpu = _lock(Conda(packages=["engine"], channels=[channel])).lock
    assert "engine-1.0" in with_gpu
    monkeypatch.setenv("CONDA_OVERRIDE_CUDA", "")
    without = _lock(Conda(packages=["engine"], channels=[channel])).lock
    assert "engine-0.9" in without

    environment = Conda(env_yml_str=with_gpu)
    with pytest.raises(EnvironmentBuildError, match="engine of the lock needs __cuda >=12"):
        build(environment)
    assert build(Conda(env_yml_str=without))
    monkeypatch.setenv("CONDA_OVERRIDE_CUDA", "11.8")
    with pytest.raises(EnvironmentBuildError, match=r"__cuda=11\.8.* CONDA_OVERRIDE_CUDA"):
        build(environment)
    monkeypatch.setenv("CONDA_OVERRIDE_CUDA", "13.0")
    assert build(environment)
    assert build(Conda(env_yml_str=without))
