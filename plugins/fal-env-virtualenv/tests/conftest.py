"""Real parts: wheels in a directory, a project with its own build backend, a cache."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fal_core.environments import LocalInterpreter
from fal_env_virtualenv import Virtualenv
from fal_env_virtualenv.store.environments import STORE, forced, record_path
from fal_uv.installing.interpreters import installed_versions
from fal_uv.requirements.pythons import running_python
from fal_uv.testing import Builder, Project, write_project, write_wheel

#: Evaluates an expression in an environment that was built.
Evaluate = Callable[..., str]
#: A declaration, and the interpreter that was built for it.
Built = tuple[Virtualenv, LocalInterpreter]
#: Ends the use of an environment by this process, and returns its directory.
LetGo = Callable[[LocalInterpreter], Path]
#: Returns the directories in uv's cache that builds have left behind.
BuildsIn = Callable[[Path], list[Path]]
#: Returns the processes whose command line or directory is below a path.
ProcessesBelow = Callable[[Path], list[int]]


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker, so that these tests also run without the repository's settings."""
    config.addinivalue_line("markers", "faults: a fault is caused on purpose")


@pytest.fixture
def make_wheel() -> Callable[..., Path]:
    return write_wheel


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of wheels: alpha-one 1 and 2, beta that needs alpha-one 1, gamma, heavy."""
    directory = tmp_path_factory.mktemp("wheels")
    write_wheel(directory, "alpha-one", "1.0")
    write_wheel(directory, "alpha-one", "2.0", scripts={"alpha": "alpha_one:main"})
    write_wheel(directory, "beta", "1.0", requires=["alpha-one<2"])
    write_wheel(directory, "gamma", "3.1", scripts={"gamma": "gamma:main"})
    write_wheel(directory, "heavy", "1.0", data=os.urandom(1 << 20))
    return directory


@pytest.fixture
def cache(tmp_path: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache, and no index but the directory of wheels."""
    for name in list(os.environ):
        if name.startswith(("UV_", "PIP_INDEX", "PIP_EXTRA", "PIP_FIND")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("FAL_CORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_FIND_LINKS", str(wheels))
    yield tmp_path / "cache" / "virtualenvs"
    STORE.release_all()
    forced.clear()


@pytest.fixture
def build(cache: Path) -> Builder:
    return Builder()


@pytest.fixture
def evaluate() -> Evaluate:
    """Return the text of an expression, its modules imported, in an environment that was built."""

    def run(interpreter: LocalInterpreter, expression: str, modules: str = "") -> str:
        code = "".join(f"import {module}\n" for module in modules.split())
        command = interpreter.command(["-c", f"{code}print({expression})"])
        variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        answer = subprocess.run(
            command.argv, capture_output=True, text=True, env=variables, timeout=60, check=True
        )
        return answer.stdout.strip()

    return run


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return write_project(tmp_path / "demo", requires=["gamma"])


@pytest.fixture
def run_python() -> Callable[..., subprocess.Popen[str]]:
    """Return a function that starts this Python with a script."""

    def start(script: str, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(script), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    return start


@pytest.fixture
def started(project: Project) -> Path:
    """Have the build of the project take minutes, and return a file that exists once it runs."""
    path = project.path.parent / "started"
    # A build that ends by being cancelled or killed.
    backend = f"open({str(path)!r}, 'w').close()\nimport time\ntime.sleep(600)\n"
    (project.path / "backend.py").write_text(backend)
    return path


@pytest.fixture
def other_python(cache: Path) -> str:
    """The minor version of an installed Python that is not the running one."""
    usual = [version for version in installed_versions() if not version.endswith("t")]
    minors = {".".join(version.split(".")[:2]) for version in usual}
    minors.discard(running_python().minor_version)
    if not minors:
        pytest.skip("only one version of Python is installed")
    return max(minors, key=lambda minor: int(minor.split(".")[1]))


@pytest.fixture
def let_go() -> LetGo:
    def release(interpreter: LocalInterpreter) -> Path:
        path = os.path.dirname(os.path.dirname(interpreter.executable))
        STORE.release(os.path.basename(path))
        return Path(path)

    return release


@pytest.fixture
def three(build: Builder, let_go: LetGo) -> list[Built]:
    """Three environments that nothing uses, the least recently used first."""
    built = []
    for age, name in ((300, "gamma"), (200, "alpha-one"), (100, "beta")):
        environment = Virtualenv(requirements=[name])
        interpreter = build(environment)
        let_go(interpreter)
        then = time.time() - age
        os.utime(record_path(environment.key), (then, then))
        built.append((environment, interpreter))
    return built


@pytest.fixture
def builds_in() -> BuildsIn:
    def find(cache_of_uv: Path) -> list[Path]:
        # An empty directory may stay while another program runs uv.
        builds = cache_of_uv.glob("builds-v*/.tmp*")
        return [build for build in builds if list(build.iterdir())]

    return find


@pytest.fixture
def processes_below() -> ProcessesBelow:
    def find(path: Path) -> list[int]:
        found = []
        for place in Path("/proc").glob("[0-9]*"):
            try:
                command = (place / "cmdline").read_bytes().decode(errors="replace")
                if str(path) in command or str(path) in os.readlink(place / "cwd"):
                    found.append(int(place.name))
            except OSError:
                continue
        return found

    return find
