"""Real parts: an engine with a store of its own, and base images made of this machine."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from image_builders import ImageBuilder
from image_roots import shared_folder
from local_engines import LocalEngine, make_folder, missing

from fal_env_container import finding


@pytest.fixture(scope="session")
def engine_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalEngine]:
    """Podman with a store of its own, which ends with the tests."""
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    engine = LocalEngine(make_folder("fal-podman-"), shared_folder(tmp_path_factory))
    engine.create()
    yield engine
    engine.remove()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("FAL_CORE_CACHE", str(tmp_path / "cache"))
    finding.forget()
    return tmp_path / "cache"


@pytest.fixture
def engine(
    engine_store: LocalEngine, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[LocalEngine]:
    """The engine, for what the test calls and starts."""
    for name, value in engine_store.variables.items():
        monkeypatch.setenv(name, value)
    yield engine_store
    finding.forget()


@pytest.fixture
def tiny(engine: LocalEngine) -> str:
    """The name of an image that has a shell and few programs."""
    return engine.import_tiny()


@pytest.fixture
def python(engine: LocalEngine) -> str:
    """The name of an image that has a Python."""
    return engine.import_python()


@pytest.fixture
def build(engine: LocalEngine, tiny: str, tmp_path: Path) -> ImageBuilder:
    """What builds images on the one with a shell; their context is empty."""
    folder = tmp_path / "context"
    folder.mkdir()
    return ImageBuilder(engine, tiny, folder)
