"""
What the tests of the serverless host share.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

HERE = Path(__file__).parent


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


relays = _load("relay")


@pytest.fixture(scope="session", autouse=True)
def _own_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """
    Nothing of the user's own settings reaches a test, and no test reaches fal.ai.
    """
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
    """
    A Python of this minor that has isolate and nothing of fal-core.
    """
    return relays.make_agent_environment(
        tmp_path_factory.mktemp("agent") / "venv", sys.executable
    )  # type: ignore[no-any-return]  # relays has no types


@pytest.fixture(scope="session")
def relay(agent_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """
    A service whose functions unmodified isolate servers run.
    """
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    relay = relays.Relay({version: agent_python}, tmp_path_factory.mktemp("cache"))
    yield relay
    relay.close()


@pytest.fixture(scope="session")
def address(relay: Any) -> Iterator[str]:
    """
    Where the relay takes calls.
    """
    with relays.serving(relay) as address:
        yield address


@pytest.fixture(scope="session")
def host(address: str) -> Any:
    """
    The host, connected to the relay.
    """
    from fal_host_serverless import FalServerlessHost

    return FalServerlessHost(address)


recorders = _load("recorder")


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """
    A service that writes down what it is asked; it is where the environment says.
    """
    from fal_host_serverless import channels

    recorder = recorders.Recorder()
    with relays.serving(recorder) as address:
        monkeypatch.setenv("FAL_GRPC_HOST", address)
        recorder.address = address
        yield recorder
        channels.close()


@pytest.fixture
def rest(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """
    The REST service beside it.
    """
    rest = recorders.RestRecorder()
    with recorders.serving_rest(rest) as address:
        monkeypatch.setenv("FAL_REST_HOST", address)
        yield rest


@pytest.fixture(scope="session", name="relays")
def _relays() -> ModuleType:
    """
    The module of the relay.
    """
    return relays
