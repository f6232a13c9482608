"""Channels of wheels."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from fal_core.errors import EnvironmentBuildError
from fal_env_conda import Conda
from fal_env_conda.building.locks import lock
from fal_env_conda.testing import make_wheel_channel
from fal_uv.testing import write_wheel

pytestmark = pytest.mark.faults


@pytest.fixture
def wheel_channel(wheels: Path, tmp_path: Path) -> str:
    """The URL of a channel of wheels: beta 2 that needs alpha-one 1, and delta."""
    folder = tmp_path / "made"
    folder.mkdir()
    write_wheel(folder, "beta", "2.0", requires=["alpha-one<2"])
    write_wheel(folder, "delta", "5.0", requires=["alpha-one"], scripts={"delta": "delta:main"})
    return make_wheel_channel(tmp_path / "served" / "wheels", folder.iterdir())


def test_wheels_are_chosen_together_with_packages(
    build: Any, evaluate: Any, channel: str, wheel_channel: str
) -> None:
    """
    They count as packages of their channel, with its priority, for which there are conda's
    packages too. pip requirements keep their versions, and the same are installed once more.
    """
    first = Conda(packages=["beta", "delta"], channels=[wheel_channel, channel], pip=["gamma"])
    interpreter = build(first)
    assert evaluate(interpreter, "beta.version", "beta") == "2.0"
    assert evaluate(interpreter, "alpha_one.version", "alpha_one") == "1.0"
    prefix = Path(interpreter.executable).parent.parent
    assert (prefix / "bin" / "delta").exists()
    assert not list((prefix / "conda-meta").glob("beta-*"))

    last = build(Conda(packages=["beta"], channels=[channel, wheel_channel]))
    assert evaluate(last, "beta.version", "beta") == "1.0"
    with pytest.raises(EnvironmentBuildError, match="beta"):
        build(Conda(packages=["beta"], channels=[wheel_channel, channel], pip=["beta<2"]))

    shutil.rmtree(prefix)
    assert build(first) == interpreter
    assert not any("Solving" in line for line in build.messages)
    assert evaluate(interpreter, "delta.version", "delta") == "5.0"


def test_wheels_that_do_not_fit_are_unsolvable(
    build: Any, channel: str, wheel_channel: str
) -> None:
    """The error is the solver's, as for packages."""
    options: dict[str, Any] = {"channels": [wheel_channel, channel]}
    with pytest.raises(EnvironmentBuildError, match="alpha-one") as caught:
        build(Conda(packages=["beta", "alpha-one=2"], **options))
    assert "beta" in caught.value.reason


def test_lock_has_wheels(
    build: Any, evaluate: Any, channel: str, wheel_channel: str, cache: Path, tmp_path: Path
) -> None:
    """They stand in a lock as files of pip do, with their digests."""
    environment = Conda(packages=["delta"], channels=[wheel_channel, channel], pip=["gamma"])
    written = lock(environment.recipe, lambda line: None, Event())
    path = tmp_path / "conda.lock"
    path.write_text(written.lock)
    assert written.lock.count("sha256:") == 4
    assert ".whl" not in written.explicit
    shutil.rmtree(cache)
    interpreter = build(Conda(env_yml=path))
    assert evaluate(interpreter, "delta.version", "delta") == "5.0"
    assert evaluate(interpreter, "gamma.version", "gamma") == "3.1"


@pytest.mark.parametrize("how", ["password", "token"])
def test_wheels_of_a_private_channel(
    build: Any,
    evaluate: Any,
    serve: Callable[[Path], Any],
    channel: str,
    wheel_channel: str,
    cache: Path,
    own_cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
) -> None:
    """Wheels are fetched with the credentials of the channel, which are kept nowhere."""
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    folder = tmp_path / "served"
    if how == "token":
        (folder / "t").mkdir()
        (folder / "wheels").rename(folder / "t" / "hunter2")
        server = serve(folder)
        url = f"http://{server.host}/t/hunter2/"
        (folder / "t" / "hunter2" / "private").symlink_to(".")
        url += "private"
    else:
        server = serve(folder)
        secret = base64.b64encode(b"me:hunter2").decode()
        server.authorization = f"Basic {secret}"
        url = f"http://me:hunter2@{server.host}/wheels"
    options: dict[str, Any] = {"channels": [url, channel]}
    interpreter = build(Conda(packages=["delta"], **options))
    assert evaluate(interpreter, "delta.version", "delta") == "5.0"
    assert "hunter2" not in "\n".join(build.messages)
    for path in cache.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.suffix in ("", ".json", ".toml"):
            assert b"hunter2" not in path.read_bytes(), path

    for wheel in folder.rglob("beta-*.whl"):
        wheel.unlink()
    with pytest.raises(EnvironmentBuildError, match="beta") as caught:
        build(Conda(packages=["beta"], **options))
    said = "\n".join((str(caught.value), *caught.value.lines, *build.messages))
    assert "hunter2" not in said
