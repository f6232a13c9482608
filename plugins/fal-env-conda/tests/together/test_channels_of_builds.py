"""Channels as builds meet them: several, with passwords, mirrored, offline and broken."""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fal_core.environments import THIS_PYTHON
from fal_core.errors import EnvironmentBuildError
from fal_env_conda import Conda
from fal_env_conda.testing import CondaPackage, make_channel, package_wheel
from fal_uv.testing import write_project

Serve = Callable[[Path], Any]


def _prefixes(cache: Path) -> list[Path]:
    """Return the directories of prefixes, whole or not."""
    return [path.parent for path in cache.glob("*/conda-meta")]


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """The user's settings of rattler, which are empty."""
    path = tmp_path / "config" / "rattler" / "config.toml"
    path.parent.mkdir(parents=True)
    return path


def _words(version: str, text: str) -> CondaPackage:
    files = {"share/words.txt": text.encode()}
    return CondaPackage(name="words", version=version, files=files)


_READ = "open(sys.prefix + '/share/words.txt').read()"


def test_first_channel_that_has_a_package_counts(
    build: Any, evaluate: Any, channel: str, tmp_path: Path
) -> None:
    """A newer version in a later channel does not count: priority is strict."""
    first = make_channel(tmp_path / "first", [_words("1.0", "first")])
    second = make_channel(tmp_path / "second", [_words("2.0", "second")])
    names = [first, second, channel]
    assert evaluate(build(Conda(packages=["words"], channels=names)), _READ) == "first"
    names = [second, first, channel]
    assert evaluate(build(Conda(packages=["words"], channels=names)), _READ) == "second"
    with pytest.raises(EnvironmentBuildError, match="words"):
        build(Conda(packages=["words >=2"], channels=[first, second, channel]))


@pytest.mark.parametrize("way", ["basic", "token"])
def test_credentials_reach_the_channel_and_nothing_else(
    build: Any,
    evaluate: Any,
    serve: Serve,
    channel: str,
    cache: Path,
    own_cache: Path,
    tmp_path: Path,
    way: str,
) -> None:
    """A password or a token of a channel is in no file that stays, no log and no error."""
    folder = tmp_path / "private"
    make_channel(folder, [_words("1.0", "private")])
    if way == "token":
        shutil.move(folder, tmp_path / "t" / "hunter2" / "private")
        server = serve(tmp_path)
        url = f"http://{server.host}/t/hunter2/private"
    else:
        server = serve(tmp_path)
        secret = base64.b64encode(b"me:hunter2").decode()
        server.authorization = f"Basic {secret}"
        url = f"http://me:hunter2@{server.host}/private"
    environment = Conda(packages=["words"], channels=[url, channel])
    assert evaluate(build(environment), _READ) == "private"
    assert "hunter2" not in "\n".join(build.messages)
    for path in cache.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.suffix in ("", ".json", ".toml"):
            assert b"hunter2" not in path.read_bytes(), path

    wrong = f"http://me:other-secret@{server.host}/nowhere"
    with pytest.raises(EnvironmentBuildError, match=r"401|404") as caught:
        build(Conda(packages=["words"], channels=[wrong, channel]))
    assert "other-secret" not in str(caught.value) + "\n".join(build.messages)
    kept = [path.read_text() for path in cache.rglob("*.failure")]
    assert kept
    assert "other-secret" not in "".join(kept)


@pytest.mark.parametrize("way", ["netrc", "file"])
def test_credentials_of_the_user_count_beside_those_of_a_url(
    build: Any,
    serve: Serve,
    channel: str,
    own_cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    way: str,
) -> None:
    """One channel may have a password in its URL, and another in the user's files."""
    places = {}
    for name, host in (("one", "127.0.0.1"), ("two", "localhost")):
        make_channel(tmp_path / name, [CondaPackage(name=name, version="1.0")])
        server = serve(tmp_path / name)
        secret = base64.b64encode(f"me:{name}-secret".encode()).decode()
        server.authorization = f"Basic {secret}"
        places[name] = f"{host}:{server.server_port}"
    path = tmp_path / "credentials"
    if way == "netrc":
        path.write_text("machine localhost\nlogin me\npassword two-secret\n")
        monkeypatch.setenv("NETRC", str(path))
    else:
        known = {"localhost": {"BasicHTTP": {"username": "me", "password": "two-secret"}}}
        path.write_text(json.dumps(known))
        monkeypatch.setenv("RATTLER_AUTH_FILE", str(path))
    first = f"http://me:one-secret@{places['one']}/"
    second = f"http://{places['two']}/"
    environment = Conda(packages=["one", "two"], channels=[first, second, channel])
    build(environment)
    assert environment.is_built()


def test_file_of_credentials_that_is_no_json(
    build: Any, channel: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the file."""
    path = tmp_path / "credentials"
    path.write_text("no JSON")
    monkeypatch.setenv("RATTLER_AUTH_FILE", str(path))
    with pytest.raises(
        EnvironmentBuildError, match=f"The file {path} of credentials is no JSON"
    ):
        build(Conda(packages=["one"], channels=["http://me:hunter2@127.0.0.1:9/", channel]))


def test_mirror_of_the_users_settings_is_used(
    build: Any,
    evaluate: Any,
    serve: Serve,
    channel: str,
    settings: Path,
    own_cache: Path,
    tmp_path: Path,
) -> None:
    """Packages of conda-forge come from the mirror that rattler's settings name."""
    make_channel(tmp_path / "mirror", [_words("1.0", "mirrored")])
    server = serve(tmp_path)
    settings.write_text(
        "[mirrors]\n"
        f'"https://conda.anaconda.org/conda-forge" = ["http://{server.host}/mirror"]\n'
    )
    environment = Conda(packages=["words"], channels=["conda-forge", channel])
    assert evaluate(build(environment), _READ) == "mirrored"
    assert any(path.endswith(".tar.bz2") for path in server.asked)


def test_offline_builds_from_the_cache(
    build: Any,
    evaluate: Any,
    serve: Serve,
    channel: str,
    own_cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With ``CONDA_OFFLINE`` nothing is asked of the network, and what is missing is named."""
    make_channel(tmp_path / "served", [_words("1.0", "one"), _words("2.0", "two")])
    server = serve(tmp_path)
    channels = [f"http://{server.host}/served", channel]
    build(Conda(packages=["words=1"], channels=channels))

    monkeypatch.setenv("CONDA_OFFLINE", "1")
    server.asked.clear()
    # Another question, with the same packages.
    environment = Conda(packages=["words <2"], channels=channels, pip=["gamma"])
    interpreter = build(environment)
    assert evaluate(interpreter, _READ) == "one"
    assert evaluate(interpreter, "gamma.version", "gamma") == "3.1"
    with pytest.raises(EnvironmentBuildError, match=r"does not have: words\."):
        build(Conda(packages=["words=2"], channels=channels))
    assert server.asked == []


@pytest.mark.parametrize("variable", ["CONDA_OFFLINE", "UV_OFFLINE"])
def test_offline_local_project_is_built_again(
    build: Any,
    evaluate: Any,
    channel: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
) -> None:
    """It takes no network to install a project of this machine that has changed."""
    monkeypatch.setenv(variable, "1")
    project = write_project(tmp_path / "project")
    environment = Conda(packages=["alpha-one"], channels=[channel], pip=[str(project.path)])
    for value in ("1", "2"):
        project.write(f"value = {value}\n")
        assert evaluate(build(environment), "project.value", "project") == value


def test_archive_that_breaks_off_is_an_error_and_the_next_build_works(
    build: Any, evaluate: Any, serve: Serve, channel: str, own_cache: Path, tmp_path: Path
) -> None:
    """The error names the package, and half of an archive is not kept."""
    make_channel(tmp_path / "served", [_words("1.0", "whole")])
    server = serve(tmp_path)
    server.broken = "words-1.0-0.tar.bz2"
    environment = Conda(packages=["words"], channels=[f"http://{server.host}/served", channel])
    with pytest.raises(EnvironmentBuildError, match="words"):
        build(environment)
    server.broken = "\0"
    assert evaluate(build(environment), _READ) == "whole"


def test_channel_that_was_mended_is_asked_again(
    build: Any, evaluate: Any, serve: Serve, channel: str, own_cache: Path, tmp_path: Path
) -> None:
    """Packages that could never be installed are chosen anew."""
    folder = tmp_path / "served"
    make_channel(folder, [_words("1.0", "broken")])
    server = serve(tmp_path)
    server.broken = "words-1.0-0.tar.bz2"
    environment = Conda(packages=["words"], channels=[f"http://{server.host}/served", channel])
    with pytest.raises(EnvironmentBuildError, match="words"):
        build(environment)
    shutil.rmtree(folder)
    make_channel(folder, [_words("1.0", "mended")])
    index = folder / "noarch" / "repodata.json"
    later = index.stat().st_mtime + 60
    os.utime(index, (later, later))
    server.broken = "\0"
    assert evaluate(build(environment), _READ) == "mended"


def test_lost_prefix_whose_package_is_gone(
    build: Any, evaluate: Any, channel: str, own_cache: Path, tmp_path: Path
) -> None:
    """The error says how others are chosen."""
    folder = tmp_path / "own"
    own = make_channel(folder, [_words("1.0", "one")])
    options: dict[str, Any] = {"packages": ["words"], "channels": [own, channel]}
    prefix = Path(build(Conda(**options)).executable).parent.parent
    shutil.rmtree(prefix)
    [unpacked] = (own_cache / "pkgs").glob("words-1.0-0*/")
    shutil.rmtree(unpacked)
    for path in (own_cache / "pkgs").glob("words-1.0-0*"):
        path.unlink()
    (folder / "noarch" / "words-1.0-0.tar.bz2").unlink()
    with pytest.raises(
        EnvironmentBuildError, match=r"words-1\.0-0\.tar\.bz2 is gone.*force=True"
    ):
        build(Conda(**options))
    make_channel(folder, [_words("2.0", "two")])
    assert evaluate(build(Conda(**options, force=True)), _READ) == "two"


@pytest.mark.parametrize("form", ["archive", "channel"])
def test_credentials_of_a_package_reach_its_host_and_nothing_else(
    build: Any,
    evaluate: Any,
    serve: Serve,
    channel: str,
    cache: Path,
    own_cache: Path,
    tmp_path: Path,
    form: str,
) -> None:
    """A package may have a password in the URL of its archive or of its channel."""
    make_channel(tmp_path / "private", [_words("1.0", "private")])
    server = serve(tmp_path)
    secret = base64.b64encode(b"me:hunter2").decode()
    server.authorization = f"Basic {secret}"
    place = f"http://me:hunter2@{server.host}/private"
    package = f"{place}/noarch/words-1.0-0.tar.bz2"
    channels = [channel]
    if form == "channel":
        package, channels = f"{place}::words", [f"http://{server.host}/private", channel]
    interpreter = build(Conda(packages=[package], channels=channels))
    assert evaluate(interpreter, _READ) == "private"
    assert "hunter2" not in "\n".join(build.messages)
    for path in (*cache.rglob("*.json"), *cache.rglob(".fal-core-*")):
        assert b"hunter2" not in path.read_bytes(), path


def test_archive_with_another_digest_is_refused(
    build: Any, serve: Serve, channel: str, own_cache: Path, cache: Path, tmp_path: Path
) -> None:
    """A package that is not what the channel's index says is not installed."""
    folder = tmp_path / "served"
    make_channel(folder, [_words("1.0", "one")])
    index = folder / "noarch" / "repodata.json"
    kept = json.loads(index.read_text())
    make_channel(folder, [_words("1.0", "another")])
    index.write_text(json.dumps(kept))
    server = serve(tmp_path)
    with pytest.raises(EnvironmentBuildError, match="words"):
        build(Conda(packages=["words"], channels=[f"http://{server.host}/served", channel]))
    assert _prefixes(cache) == []


def test_scripts_after_installation_run_only_where_allowed(
    build: Any, evaluate: Any, channel: str, settings: Path, cache: Path
) -> None:
    """Without leave a warning says so, and names the setting that gives it."""
    environment = Conda(packages=["linked"], channels=[channel])
    was_linked = "os.path.exists(sys.prefix + '/was-linked')"
    assert evaluate(build(environment), was_linked) == "False"
    [warning] = [line.message for line in build.logs if line.level == "WARNING"]
    assert "linked" in warning
    assert "run-post-link-scripts" in warning

    shutil.rmtree(cache)
    settings.write_text('run-post-link-scripts = "insecure"\n')
    assert evaluate(build(environment), was_linked) == "True"
    assert all(line.level == "INFO" for line in build.logs)


def test_cache_on_another_file_system(
    build: Any, evaluate: Any, channel: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where files cannot be linked to the cache, they are copied."""
    import tempfile

    if not os.path.isdir("/dev/shm") or os.stat("/dev/shm").st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as elsewhere:
        monkeypatch.setenv("RATTLER_CACHE_DIR", elsewhere)
        interpreter = build(Conda(packages=["alpha-one=1"], channels=[channel]))
        assert evaluate(interpreter, "alpha_one.version", "alpha_one") == "1.0"


def test_pip_keeps_what_conda_installed(build: Any, evaluate: Any, channel: str) -> None:
    """A pip requirement gets the versions of conda's packages, or the error names both."""
    environment = Conda(packages=["alpha-one=1"], channels=[channel], pip=["beta"])
    interpreter = build(environment)
    assert evaluate(interpreter, "alpha_one.version", "alpha_one") == "1.0"
    assert evaluate(interpreter, "beta.version", "beta") == "1.0"
    with pytest.raises(EnvironmentBuildError, match="alpha-one") as caught:
        build(Conda(packages=["alpha-one=2"], channels=[channel], pip=["beta"]))
    assert caught.value.kind == "conda"


@pytest.mark.parametrize("form", ["directory", "file"])
def test_pip_keeps_what_setuptools_described(
    build: Any, channel: str, tmp_path: Path, form: str
) -> None:
    """Older packages have an ``egg-info`` in place of a ``dist-info``."""
    described = f"site-packages/alpha_one-1.0-py{THIS_PYTHON}.egg-info"
    described += "/PKG-INFO" if form == "directory" else ""
    text = b"Metadata-Version: 1.1\nName: alpha-one\nVersion: 1.0\n"
    package = CondaPackage(
        name="alpha-one",
        version="1.0",
        depends=["python"],
        any_python=True,
        files={described: text, "site-packages/alpha_one/__init__.py": b"version = '1.0'\n"},
    )
    own = make_channel(tmp_path / "own", [package])
    environment = Conda(packages=["alpha-one"], channels=[own, channel], pip=["alpha-one>=2"])
    with pytest.raises(EnvironmentBuildError, match="alpha-one") as caught:
        build(environment)
    assert "1.0" in caught.value.reason


def test_wheel_becomes_a_package_with_its_programs(
    build: Any, channel: str, wheels: Path, tmp_path: Path
) -> None:
    """A program of a package for any Python is in the prefix."""
    import subprocess

    wheel = wheels / "alpha_one-2.0-py3-none-any.whl"
    own = make_channel(tmp_path / "own", [package_wheel(wheel)])
    interpreter = build(Conda(packages=["alpha-one"], channels=[own, channel]))
    program = Path(interpreter.executable).with_name("alpha")
    answer = subprocess.run([program], capture_output=True, text=True, check=True)
    assert answer.stdout == "alpha-one 2.0\n"
