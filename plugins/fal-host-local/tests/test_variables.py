"""The environment variables and secrets of a worker."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fal_core import function
from fal_host_local import LocalHost
from fal_host_local.variables import read_dotenv


def get_pid() -> int:
    return os.getpid()


def test_secrets_come_from_the_environment_and_the_project(
    host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Only the secrets that are named are seen, under their names."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FAL_TEST_TOKEN", "from-environment")
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / ".env").write_text(
        "# comment\nexport FAL_TEST_FILE='from file'\nFAL_TEST_OTHER=unseen\n"
    )
    isolated = function("current", host=host, secrets=["FAL_TEST_TOKEN", "FAL_TEST_FILE"])(
        lambda: {name: value for name, value in os.environ.items() if "FAL_TEST" in name}
    )

    assert isolated() == {
        "FAL_TEST_TOKEN": "from-environment",
        "FAL_TEST_FILE": "from file",
    }


def test_secrets_lie_beside_the_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """
    The project of the function's file is looked at, also from elsewhere; that of the
    working directory comes first. Where neither has it, the file is named.
    """
    sub = tmp_path / "sub"
    sub.mkdir()
    (tmp_path / ".git").mkdir()
    (sub / ".env").write_text("FAL_TEST_BESIDE=beside\nFAL_TEST_BOTH=beside\n")
    (sub / "s.py").write_text(
        "import os, sys\n"
        "from fal_core import function\n"
        "names = ['FAL_TEST_BESIDE', 'FAL_TEST_BOTH', *sys.argv[1:]]\n"
        "@function('current', host='local', secrets=names)\n"
        "def read(): return [os.environ[name] for name in names]\n"
        "apart = read.with_policy(lifetime='detached')\n"
        "print(*read(), *apart.spawn().future.result(60))\n"
    )

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "sub/s.py", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    assert run().stdout.split() == ["beside"] * 4
    (tmp_path / ".env").write_text("FAL_TEST_BOTH=around\n")
    assert run().stdout.split() == ["beside", "around"] * 2
    told = run("FAL_TEST_NOWHERE").stderr.splitlines()[-1]
    assert "Secret 'FAL_TEST_NOWHERE', which a function in" in told
    assert str(sub / "s.py") in told
    assert ".env beside that file" in told


def test_a_worker_keeps_the_surroundings_of_its_start(
    host: LocalHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A worker has the variables and the directory of the caller as they were when it started."""
    first, second = tmp_path / "first", tmp_path / "second"
    for path in (first, second):
        path.mkdir()

    def read() -> tuple[str | None, str]:
        return os.environ.get("FAL_TEST_PLACE"), os.getcwd()

    def start(**options: float) -> Callable[[], tuple[str | None, str]]:
        return function("current", host=host, keep_alive=60, max_concurrency=1, **options)(read)

    monkeypatch.chdir(first)
    monkeypatch.setenv("FAL_TEST_PLACE", "first")
    warm = start()
    assert warm() == ("first", str(first))
    monkeypatch.chdir(second)
    monkeypatch.setenv("FAL_TEST_PLACE", "second")
    assert warm() == ("first", str(first))
    assert start(startup_timeout=60)() == ("second", str(second))


def test_values_are_read_as_other_tools_read_them(tmp_path: Path):
    """Quotes end a value before its comment, lines go on inside quotes, and ``$`` is kept."""
    file = tmp_path / ".env"
    file.write_text("A='x' # why\nB=\"y\nz\"\nC=${HOME}\nD\nE=\nexport F=a#b # why\n")

    assert read_dotenv(file) == {"A": "x", "B": "y\nz", "C": "${HOME}", "E": "", "F": "a#b"}
    assert read_dotenv(None) == {}


def test_a_secret_is_nowhere_to_be_read(host, monkeypatch: pytest.MonkeyPatch):
    """The value of a secret is not in the worker's argv or initial environment."""
    monkeypatch.setenv("FAL_TEST_TOKEN", "the-secret-value")
    isolated = function("current", host=host, secrets=["FAL_TEST_TOKEN"])(get_pid)

    pid = isolated()

    for name in ("cmdline", "environ"):
        assert b"the-secret-value" not in Path(f"/proc/{pid}/{name}").read_bytes()
    assert "the-secret-value" not in repr(isolated)


def test_a_missing_secret_is_named(host):
    """A secret that is set nowhere is an error that says where to set it."""
    isolated = function("current", host=host, secrets=["FAL_TEST_NOWHERE"])(get_pid)

    with pytest.raises(Exception, match=r"FAL_TEST_NOWHERE.*\.env"):
        isolated()
