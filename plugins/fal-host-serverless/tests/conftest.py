"""Fixtures of the serverless host's tests."""

from __future__ import annotations

import base64
import importlib.util
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

HERE = Path(__file__).parent

#: The file ``searching.py`` of the fixture ``project``.
APPLICATION = """
from fal_core import function
from fal_serve import App, endpoint


class Search(App, keep_alive=120, max_concurrency=4, app_files=["data"]):
    app_auth = "shared"

    @endpoint("/find")
    def find(self, word: str) -> str:
        return word

    @endpoint("/")
    def all(self) -> list[str]:
        return []


@function("virtualenv", serve=True)
def double(number: int) -> int:
    return 2 * number
"""

#: The file ``looking.py``, beside which command lines run.
LOOKING = """
from fal_core import function


@function("virtualenv", host="serverless")
def look() -> int:
    return 1
"""


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


relays = _load("relay")
recorders = _load("recorder")


@pytest.fixture(scope="session", autouse=True)
def _own_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep tests from reading the user's own settings, and from reaching fal.ai."""
    folder = tmp_path_factory.mktemp("settings")
    with pytest.MonkeyPatch.context() as patch:
        for name in (
            "FAL_KEY_ID",
            "FAL_KEY_SECRET",
            "FAL_HOST",
            "FAL_REST_HOST",
            "FAL_PROFILE",
            "FAL_ENV",
            "FAL_FORCE_AUTH_BY_USER",
        ):
            patch.delenv(name, raising=False)
        patch.setenv("FAL_CONFIG_PATH", str(folder / "config.toml"))
        patch.setenv("FAL_HOME_DIR", str(folder))
        patch.setenv("FAL_KEY", "kid:ksecret")
        patch.setenv("ISOLATE_TEST_MODE", "1")
        patch.setenv("FAL_GRPC_HOST", "127.0.0.1:1")
        yield


@pytest.fixture(scope="session")
def agent_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python of this minor version with isolate and without fal-core."""
    return relays.make_agent_environment(
        tmp_path_factory.mktemp("agent") / "venv", sys.executable
    )  # type: ignore[no-any-return]  # relays has no types


@pytest.fixture(scope="session")
def relay(agent_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A service that runs functions on unmodified isolate servers."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    relay = relays.Relay({version: agent_python}, tmp_path_factory.mktemp("cache"))
    yield relay
    relay.close()


@pytest.fixture(scope="session")
def address(relay: Any) -> Iterator[str]:
    """The address of the relay."""
    with relays.serving(relay) as address:
        yield address


@pytest.fixture(scope="session")
def host(address: str) -> Any:
    """The host, connected to the relay."""
    from fal_host_serverless import FalServerlessHost

    return FalServerlessHost(address)


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A service that records requests, at the address that the environment names."""
    from fal_host_serverless.wire import channels

    recorder = recorders.Recorder()
    with relays.serving(recorder) as address:
        monkeypatch.setenv("FAL_GRPC_HOST", address)
        recorder.address = address
        yield recorder
        channels.close()


@pytest.fixture
def rest(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The REST service that belongs to it."""
    from fal_host_serverless.account import told_facts
    from fal_host_serverless.wire.rest import close_shared

    # What a service at the same port has told is not true of this one.
    monkeypatch.setattr(told_facts, "_facts", {})
    rest = recorders.RestRecorder()
    with recorders.serving_rest(rest) as address:
        monkeypatch.setenv("FAL_REST_HOST", address)
        yield rest
        close_shared()


@pytest.fixture(scope="session", name="relays")
def _relays() -> ModuleType:
    """The module of the relay."""
    return relays


@pytest.fixture
def asking(recorder: Any, rest: Any) -> Any:
    """A client of both recorders."""
    from fal_host_serverless import SyncServerlessClient

    return SyncServerlessClient(host=recorder.address)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project with two applications, as the working directory."""
    (tmp_path / "searching.py").write_text(APPLICATION)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "words.txt").write_text("one two")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    sys.modules.pop("searching", None)


@pytest.fixture
def own(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A local project that applications require."""
    monkeypatch.setenv("FAL_CORE_CACHE", str(project / "cache"))
    local = project / "own"
    (local / "src" / "own").mkdir(parents=True)
    (local / "src" / "own" / "__init__.py").write_text("")
    (local / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        '[project]\nname = "own"\nversion = "1"\n'
    )
    return local


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with two profiles, and an environment without a key."""
    path = tmp_path / "config.toml"
    path.write_text(
        '[__internal__]\nprofile = "work"\n[work]\nkey = "w:1"\nhost = "api.work.test"\n'
        '[home]\nkey = "h:2"\n'
    )
    monkeypatch.setenv("FAL_CONFIG_PATH", str(path))
    for name in ("FAL_KEY", "FAL_KEY_ID", "FAL_KEY_SECRET", "FAL_PROFILE", "FAL_GRPC_HOST"):
        monkeypatch.delenv(name, raising=False)
    return path


@pytest.fixture
def keep_login(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Keep a token that expires in so many seconds in a folder, and return it."""

    def keep(folder: Path, *, seconds: float) -> str:
        facts = json.dumps({"exp": time.time() + seconds}).encode()
        token = f"e30.{base64.urlsafe_b64encode(facts).decode().rstrip('=')}.signature"
        (folder / "auth0_token").write_text(f"refresh\n{token}")
        monkeypatch.setenv("FAL_HOME_DIR", str(folder))
        return token

    return keep


@pytest.fixture
def login(tmp_path: Path, keep_login: Callable[..., str]) -> str:
    """The token of a user, stored as by fal's own tools."""
    return keep_login(tmp_path, seconds=3600)


@pytest.fixture
def run() -> Callable[..., int]:
    """Run the command line, and return its exit code."""

    def start(*arguments: str) -> int:
        from fal_core.cli.program import run

        return run(arguments)

    return start


@pytest.fixture
def run_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> Callable[..., tuple[int, str]]:
    """Run the command line beside ``looking.py``, and return its exit code and its errors."""
    (tmp_path / "looking.py").write_text(LOOKING)
    monkeypatch.chdir(tmp_path)

    def start(*arguments: str) -> tuple[int, str]:
        from fal_core.cli.program import run

        code = run(arguments)
        return code, " ".join(capsys.readouterr().err.split())

    return start
