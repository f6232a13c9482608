"""Real parts: a channel with two Pythons and packages for any Python, and a cache."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from fal_core.environments import THIS_PYTHON, LocalInterpreter, python_problem
from fal_env_conda.building import builds, recipes
from fal_env_conda.building.prefixes import PREFIXES
from fal_env_conda.rattling.platforms import subdir
from fal_env_conda.rattling.processes import Rattler
from fal_env_conda.testing import CondaPackage, make_channel, package_python, package_wheel
from fal_uv.installing.interpreters import managed_pythons
from fal_uv.testing import Builder, write_wheel

#: Evaluates an expression in an environment that was built.
Evaluate = Callable[..., str]

_ACTIVATION = (
    b'export WORDS_HOME="$CONDA_PREFIX/share/words"\nexport WORDS_GREETING="good day"\n'
)


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker, so that these tests also run without the repository's settings."""
    config.addinivalue_line("markers", "faults: a fault is caused on purpose")


def _once(place: Path, make: Callable[[Path], None]) -> Path:
    """Have one of the processes that share the tests make *place*, and return it."""
    with open(f"{place}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            new = place.with_name(f"{place.name}.new")
            shutil.rmtree(new, ignore_errors=True)
            make(new)
            new.rename(place)
    return place


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of this run of the tests, in all processes that share it."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def wheels(shared: Path) -> Path:
    """A directory of wheels: alpha-one 1 and 2, beta that needs alpha-one 1, gamma."""

    def make(directory: Path) -> None:
        directory.mkdir()
        write_wheel(directory, "alpha-one", "1.0")
        write_wheel(directory, "alpha-one", "2.0", scripts={"alpha": "alpha_one:main"})
        write_wheel(directory, "beta", "1.0", requires=["alpha-one<2"])
        write_wheel(directory, "gamma", "3.1", scripts={"gamma": "gamma:main"})

    return _once(shared / "wheels", make)


def _find_other_python() -> CondaPackage | None:
    """Return the package of an installed Python that is not the running one."""
    installed = {name: path for name, path in managed_pythons() if not name.endswith("t")}
    for version in sorted(installed, reverse=True):
        minor = ".".join(version.split(".")[:2])
        if python_problem(minor) or minor == THIS_PYTHON:
            continue
        with suppress(LookupError):
            return package_python(installed[version])
    return None


@pytest.fixture(scope="session")
def channel_folder(shared: Path, wheels: Path) -> Path:
    """A channel: the running Python, another one, and packages for any Python."""

    def make(directory: Path) -> None:
        directory.mkdir()
        try:
            packages = [package_python()]
        except LookupError as error:
            pytest.skip(str(error))
        other = _find_other_python()
        packages += [] if other is None else [other]
        packages += [
            package_wheel(wheels / "alpha_one-1.0-py3-none-any.whl"),
            package_wheel(wheels / "alpha_one-2.0-py3-none-any.whl"),
            package_wheel(wheels / "beta-1.0-py3-none-any.whl", depends=["alpha-one <2"]),
            CondaPackage(
                name="words",
                version="1.0",
                files={
                    "etc/conda/activate.d/words.sh": _ACTIVATION,
                    "share/words/list.txt": b"good\nday\n",
                },
            ),
            CondaPackage(
                name="engine",
                version="1.0",
                build="cuda_0",
                depends=["__cuda >=12"],
                files={"share/engine.txt": b"cuda\n"},
            ),
            CondaPackage(
                name="engine",
                version="0.9",
                build="cpu_0",
                files={"share/engine.txt": b"cpu\n"},
            ),
            CondaPackage(
                name="linked",
                version="1.0",
                files={
                    "bin/.linked-post-link.sh": b'#!/bin/bash\ndate > "$PREFIX/was-linked"\n',
                    "share/linked.txt": b"linked\n",
                },
                programs=["bin/.linked-post-link.sh"],
            ),
            CondaPackage(name="demanding", version="1.0", depends=["alpha-one >=3"]),
        ]
        make_channel(directory, packages)

    return _once(shared / "channel", make)


@pytest.fixture(scope="session")
def channel(channel_folder: Path) -> str:
    """The URL of the channel."""
    return channel_folder.as_uri()


@pytest.fixture(scope="session")
def other_python(channel_folder: Path) -> str:
    """The minor version of the other Python that the channel has."""
    names = (channel_folder / subdir()).glob("python-*.tar.bz2")
    versions = {".".join(path.name.split("-")[1].split(".")[:2]) for path in names}
    versions.discard(THIS_PYTHON)
    if not versions:
        pytest.skip("only one version of Python is installed")
    return versions.pop()


@pytest.fixture(autouse=True)
def cache(
    tmp_path: Path, shared: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """An empty cache of environments, rattler's own of these tests, and no index but wheels."""
    for name in list(os.environ):
        if name.startswith(("UV_", "PIP_INDEX", "PIP_EXTRA", "PIP_FIND", "CONDA_", "RATTLER_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("FAL_CORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("RATTLER_CACHE_DIR", str(shared / "rattler"))
    settings = tmp_path / "config" / "uv" / "uv.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text("no-index = true\n")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("UV_FIND_LINKS", str(wheels))
    yield tmp_path / "cache" / "conda"
    PREFIXES.release_all()
    recipes.forget()
    builds.forget()


@pytest.fixture(scope="session")
def unpacked(shared: Path, channel: str) -> Path:
    """The directory of a cache of rattler's that has the running Python and nothing else."""

    def make(directory: Path) -> None:
        common = {"platform": subdir(), "offline": False, "credentials": []}
        with Rattler() as rattler:
            records = rattler.ask(
                "solve",
                channels=[f"{channel}/"],
                specs=[f"python {THIS_PYTHON}.*"],
                virtual_packages=[],
                cache=str(directory / "repodata"),
                **common,
            )
            rattler.ask(
                "install",
                records=records,
                prefix=str(directory / "prefix"),
                cache=str(directory / "pkgs"),
                **common,
            )

    return _once(shared / "unpacked", make) / "pkgs"


@pytest.fixture
def own_cache(tmp_path: Path, unpacked: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of rattler's that has no package but the running Python."""
    path = tmp_path / "rattler"
    monkeypatch.setenv("RATTLER_CACHE_DIR", str(path))
    shutil.copytree(unpacked, path / "pkgs", symlinks=True, copy_function=_link)
    return path


def _link(source: str, target: str) -> None:
    # Those that rattler writes to are copied.
    copy = shutil.copy2 if source.endswith(".lock") else os.link
    copy(source, target, follow_symlinks=False)


@pytest.fixture
def build() -> Builder:
    return Builder()


@pytest.fixture
def evaluate() -> Evaluate:
    """Return the text of an expression, its modules imported, in an environment that was built."""

    def run(interpreter: LocalInterpreter, expression: str, modules: str = "sys os") -> str:
        code = "".join(f"import {module}\n" for module in modules.split())
        command = interpreter.command(["-c", f"{code}print({expression})"])
        variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        answer = subprocess.run(
            command.argv,
            capture_output=True,
            text=True,
            env={**variables, **command.variables},
            timeout=60,
            check=True,
        )
        return answer.stdout.strip()

    return run


class _Handler(SimpleHTTPRequestHandler):
    """Serves a directory; the server says who may read it, and what breaks off."""

    server: ChannelServer

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if not self.server.is_let_in(self.headers.get("Authorization", "")):
            self.send_error(401)
            return
        if self.path.endswith(self.server.broken):
            self.send_response(200)
            self.send_header("Content-Length", "1000000")
            self.end_headers()
            self.wfile.write(b"half of it")
            return
        super().do_GET()

    def log_message(self, format: str, *arguments: object) -> None: ...


class ChannelServer(ThreadingHTTPServer):
    """
    A channel that is served on loopback.

    Attributes:
        asked: The paths that were asked for.

        authorization: What a request must have in its header. Empty for anything.

        broken: How the paths end whose answers break off.
    """

    daemon_threads = True
    asked: list[str]
    authorization: str = ""
    broken: str = "\0"

    def is_let_in(self, authorization: str) -> bool:
        return not self.authorization or authorization == self.authorization

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_port}"


@pytest.fixture
def serve() -> Iterator[Callable[[Path], ChannelServer]]:
    """Return a function that serves a directory on loopback."""
    servers: list[ChannelServer] = []

    def start(directory: Path) -> ChannelServer:
        handler = partial(_Handler, directory=str(directory))
        server = ChannelServer(("127.0.0.1", 0), handler)  # type: ignore[arg-type]  # a partial
        server.asked = []
        servers.append(server)
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
