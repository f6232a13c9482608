"""Errors of builds that say what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fal_core.errors import EnvironmentBuildError
from fal_env_conda import Conda
from fal_env_conda.building.build_errors import error_of_rattler, without_credentials
from fal_env_conda.declaring.channels import Credentials
from fal_env_conda.testing import CondaPackage, make_channel

_ME = Credentials("host", "me", "hunter2")


@pytest.mark.parametrize(
    ("message", "advice"),
    [
        ("it cannot be linked: no space (os error 28)", "The disk is full. Free some space"),
        ("it cannot be made: no (os error 30)", "RATTLER_CACHE_DIR"),
        ("no eligible writable layers to cache package to", "RATTLER_CACHE_DIR"),
        ("HTTP status client error (401 Unauthorized)", "The channel asks who you are."),
    ],
)
def test_what_to_do_comes_first(message: str, advice: str) -> None:
    """All that rattler says follows."""
    error = error_of_rattler(message, ["one", "two"], ())
    assert advice in error.reason
    assert error.reason.endswith(message)
    assert error.lines == ("one", "two")


def test_no_error_has_credentials() -> None:
    """Not in its reason, its requirement or its lines."""
    error = error_of_rattler("GET http://me:hunter2@host/", [], [_ME])
    assert "hunter2" not in str(error)
    quoted = "beta @ http://me:hunter2@host/"
    told = EnvironmentBuildError("conda", f"No {quoted}", quoted, (quoted,), (quoted,))
    masked = without_credentials(told, (_ME,))
    assert "hunter2" not in repr(masked) + str(masked)
    assert masked.requirement == "beta @ http://me:***@host/"


@pytest.mark.parametrize(
    "package", ["alpha-one >=", "alpha-*", "\N{LATIN SMALL LETTER E WITH ACUTE}"]
)
def test_package_that_cannot_be_read_is_named(build: Any, channel: str, package: str) -> None:
    """As it was written."""
    with pytest.raises(EnvironmentBuildError, match="is not written as conda writes") as caught:
        build(Conda(packages=["beta", package], channels=[channel]))
    assert repr(package) in caught.value.reason


def test_channel_that_cannot_be_read_is_named(
    build: Any, channel: str, serve: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is wrong with it."""
    index = tmp_path / "served" / "broken" / "noarch" / "repodata.json"
    index.parent.mkdir(parents=True)
    index.write_text("no JSON")
    server = serve(tmp_path / "served")
    for name in ("broken", "nowhere"):
        url = f"http://{server.host}/{name}/"
        with pytest.raises(EnvironmentBuildError, match=f"Channel {url} cannot be read"):
            build(Conda(packages=["alpha-one"], channels=[channel, url]))
    monkeypatch.setenv("CONDA_OFFLINE", "1")
    url = f"http://{server.host}/never/"
    with pytest.raises(EnvironmentBuildError, match=r"since CONDA_OFFLINE is set.*/never/"):
        build(Conda(packages=["alpha-one"], channels=[channel, url]))


@pytest.mark.parametrize("character", ['"', "$", "`", "\\", "\t"])
def test_place_that_no_package_can_work_in_is_refused(
    build: Any, channel: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, character: str
) -> None:
    """Scripts of packages would do something else than they say."""
    monkeypatch.setenv("FAL_CORE_CACHE", str(tmp_path / f"a{character}b"))
    with pytest.raises(EnvironmentBuildError, match="Name another directory"):
        build(Conda(packages=["words"], channels=[channel]))


def test_packages_work_in_odd_places(
    build: Any, evaluate: Any, channel: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A path may have spaces, quotes and letters of any language, and be long."""
    place = tmp_path / "it's ünï;code & #1" / ("x" * 100) / ("y" * 100)
    monkeypatch.setenv("FAL_CORE_CACHE", str(place))
    interpreter = build(Conda(packages=["words"], channels=[channel], pip=["gamma"]))
    assert evaluate(interpreter, "os.environ['WORDS_HOME'].startswith(sys.prefix)") == "True"
    assert evaluate(interpreter, "gamma.version", "gamma") == "3.1"


def test_place_that_is_too_long_for_a_package(
    build: Any, channel: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """
    Programs have room for a path of so many characters: shorter ones are written in its place,
    and longer ones are refused with what to do.
    """
    placeholder = ("/placeholder" * 30)[:255]
    content = b"\0" + placeholder.encode() + b"/lib\0"
    package = CondaPackage(
        name="placed", version="1.0", placeholder=placeholder, files={"lib/placed.bin": content}
    )
    own = make_channel(tmp_path / "own", [package])
    environment = Conda(packages=["placed"], channels=[own, channel])
    prefix = Path(build(environment).executable).parent.parent
    placed = (prefix / "lib" / "placed.bin").read_bytes()
    assert len(placed) == len(content)
    assert f"{prefix}/lib".encode() in placed
    monkeypatch.setenv("FAL_CORE_CACHE", str(tmp_path / ("x" * 120) / ("y" * 120)))
    with pytest.raises(EnvironmentBuildError, match="Name a shorter directory"):
        build(environment)
