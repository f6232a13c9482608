"""Applications written for fal run on this machine, with one line changed."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from application_checks import (
    APPLICATIONS,
    CHECKS,
    EXAMPLES,
    SECRET,
    Served,
    check_store,
    serve_weights,
)

pytest.importorskip("PIL")


@pytest.fixture(scope="module")
def variables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What applications find in their environment."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    folder = tmp_path_factory.mktemp("weights")
    with serve_weights(folder) as served, pytest.MonkeyPatch.context() as patch:
        found = {**served, "MODEL_TOKEN": SECRET, "FAL_CORE_DATA": str(folder / "data")}
        for name, value in found.items():
            patch.setenv(name, value)
        yield found


def load(name: str) -> Any:
    """Return the class of an application, of a module that is imported anew."""
    spec = importlib.util.spec_from_file_location(f"from_fal_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, APPLICATIONS[name])


@pytest.fixture(scope="module")
def started(variables: dict[str, str]) -> Iterator[dict[str, Any]]:
    """All applications, which start at once."""
    classes = {name: load(name) for name in APPLICATIONS}
    # This machine may have no engine that builds images.
    assert classes["own_image"].host_kwargs.pop("image").build_args == {"GREETING": "good day"}
    infos = {name: each.spawn() for name, each in classes.items()}
    with ThreadPoolExecutor(len(infos)) as threads:
        [*threads.map(lambda each: each.wait(startup_timeout=300), infos.values())]
    yield infos
    for info in infos.values():
        info.cancel()


@pytest.mark.parametrize("name", APPLICATIONS)
def test_application(name: str, started: dict[str, Any], tmp_path: Path):
    """An application answers as it does on fal."""
    info = started[name]

    def end() -> None:
        info.drain()
        info.future.exception(120)

    served = Served(url=info.url, folder=tmp_path, end=end)
    CHECKS[name](served)
    if name == "weights":
        check_store(served)


@pytest.mark.parametrize("name", APPLICATIONS)
def test_one_line_differs(name: str):
    """One line of an application names this package."""
    lines = (EXAMPLES / f"{name}.py").read_text().splitlines()
    assert [line for line in lines if "fal_compat" in line] == ["import fal_compat as fal"]
    assert not [line for line in lines if "fal_serve" in line or "fal_core" in line]
