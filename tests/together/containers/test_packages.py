"""Requirements on top of an image, in a folder that its containers see."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fal_core import function
from fal_core.errors import EnvironmentBuildError
from fal_env_container import Container
from fal_host_local import LocalHost
from fal_uv.testing import write_wheel

pytestmark = pytest.mark.faults


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place where packages come from."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    write_wheel(folder, "upper", "1.0", requires=["lower"])
    write_wheel(folder, "lower", "2.0")
    monkeypatch.setenv("UV_FIND_LINKS", str(folder))
    monkeypatch.setenv("UV_NO_INDEX", "1")
    return folder


def test_a_function_has_requirements_that_its_image_lacks(
    contained: Any, image: str, wheels: Path
):
    """They are installed outside of the image, and what is there already is not installed anew."""

    @contained(requirements=["upper"])
    def find() -> tuple[str, str, str]:
        import lower
        import upper

        return upper.version, lower.version, upper.__file__

    environment = Container(image=image, requirements=("upper",))
    assert not environment.is_built()

    @contained()
    def is_there() -> bool:
        import importlib.util

        return importlib.util.find_spec("upper") is not None

    assert find() == ("1.0", "2.0", "/.fal-core-packages/upper/__init__.py")
    assert environment.is_built()
    assert not is_there()


def test_packages_of_the_image_are_kept_unless_they_are_asked_for(
    contained: Any, engine: Any, wheels: Path, tmp_path: Path
):
    """What a requirement needs is taken from the image; what is named itself comes before it."""
    root = tmp_path / "root"
    installed = root / "usr" / "lib" / "python3" / "dist-packages"
    for name in ("lower", "upper"):
        module = installed / name
        module.mkdir(parents=True)
        (module / "__init__.py").write_text("version = '0.1'\n")
        described = installed / f"{name}-0.1.dist-info"
        described.mkdir()
        (described / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n"
        )
    image = engine.derive("localhost/tests/packages:1", engine.import_python(), folder=root)

    @contained(image=image, requirements=["upper==1.0"])
    def find() -> tuple[str, str]:
        import lower
        import upper

        return upper.version, lower.version

    assert find() == ("1.0", "0.1")


def test_processes_of_the_function_have_its_requirements(contained: Any, wheels: Path):
    """A Python that the function starts finds them as well, and cannot change them."""

    @contained(requirements=["lower"])
    def ask() -> tuple[str, bool]:
        import os
        import subprocess
        import sys

        command = [sys.executable, "-c", "import lower; print(lower.version)"]
        done = subprocess.run(command, capture_output=True, text=True)
        return done.stdout.strip(), os.access("/.fal-core-packages", os.W_OK)

    assert ask() == ("2.0", False)


@pytest.mark.parametrize(
    ("whose", "is_kept"),
    [({}, True), ({"trusted": False, "tenant": "one"}, True), ({"trusted": False}, False)],
)
def test_compiled_modules_of_requirements_are_kept(
    image: str,
    wheels: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    whose: dict[str, Any],
    is_kept: bool,
):
    """
    The first container that imports a requirement compiles it, and the next ones do not; but
    strangers whose it may be together do so each time.
    """

    monkeypatch.setenv("FAL_CORE_CACHE", str(tmp_path / "cache"))

    def load() -> tuple[str, str]:
        import socket

        import upper

        return upper.version, socket.gethostname()

    def find() -> dict[str, int]:
        found = tmp_path.glob("cache/container-packages/*/compiled/**/*.pyc")
        return {path.name: path.stat().st_mtime_ns for path in found}

    options = {"image": image, "requirements": ["upper"], **whose}
    seen = []
    for _ in range(2):
        with closing(LocalHost()) as host:
            there = function("container", host=host, **options)(load)
            seen.append((there(), find()))
    (one, kept), (other, kept_later) = seen
    assert (one[0], other[0]) == ("1.0", "1.0")
    assert one[1] != other[1]
    assert kept == kept_later
    assert any(name.startswith("__init__.") for name in kept) is is_kept


def test_a_requirement_that_cannot_be_installed_is_an_error(contained: Any, wheels: Path):
    """The error is that of uv, and names the requirement."""

    @contained(requirements=["no-such-package"])
    def never() -> None: ...

    with pytest.raises(EnvironmentBuildError, match="no-such-package"):
        never()
