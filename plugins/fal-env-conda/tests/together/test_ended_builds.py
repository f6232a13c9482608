"""Builds that end early, and builds that many want at once."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from fal_core.errors import Cancelled, EnvironmentBuildError
from fal_core.events import Log
from fal_env_conda import Conda
from fal_testing.harness.processes import wait_until
from fal_uv.testing import write_project

#: Seconds that a build may take to begin or to end.
_PATIENCE = 60.0

_BUILD = """
    import sys
    from threading import Event
    from fal_env_conda import Conda

    Conda(packages=["alpha-one"], channels=[sys.argv[1]], pip=sys.argv[2:]).build(
        lambda line: print(line.message, flush=True), Event()
    )
"""


@pytest.fixture
def endless(tmp_path: Path) -> Path:
    """A local project whose first build goes on until it is ended; it makes a file as it begins."""
    project = write_project(tmp_path / "endless")
    backend = project.path / "backend.py"
    begun = str(tmp_path / "begun")
    wait = (
        "import os, signal\n"
        f"if not os.path.exists({begun!r}):\n    open({begun!r}, 'w').close()\n"
        "    signal.pause()\n"
    )
    backend.write_text(wait + backend.read_text())
    return project.path


def _prefixes(cache: Path) -> list[Path]:
    """Return the directories of prefixes, whole or not."""
    return [path.parent for path in cache.glob("*/conda-meta")]


def _left(cache: Path) -> list[Path]:
    """Return the prefixes that are not whole."""
    found = _prefixes(cache)
    return [each for each in found if not (each / ".fal-core-complete").exists()]


def test_cancelled_build_leaves_nothing(
    build: Any, channel: str, cache: Path, tmp_path: Path, endless: Path
) -> None:
    """It ends in the middle of a requirement, and the next build works."""
    environment = Conda(packages=["alpha-one"], channels=[channel], pip=[str(endless)])
    cancelled = Event()
    errors: list[BaseException] = []

    def run() -> None:
        try:
            environment.build(lambda line: None, cancelled)
        except BaseException as error:
            errors.append(error)

    thread = Thread(target=run)
    thread.start()
    assert wait_until(lambda: (tmp_path / "begun").exists() or bool(errors), _PATIENCE)
    assert errors == []
    assert len(_left(cache)) == 1
    cancelled.set()
    thread.join(_PATIENCE)
    assert [type(error) for error in errors] == [Cancelled]
    assert _left(cache) == []
    assert not environment.is_built()
    assert build(Conda(packages=["alpha-one"], channels=[channel]))


def test_killed_build_is_swept_by_the_next(
    build: Any, channel: str, cache: Path, tmp_path: Path, endless: Path
) -> None:
    """What a builder that is killed leaves is never taken for an environment, and goes."""
    builder = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(_BUILD), channel, str(endless)]
    )
    begun = (tmp_path / "begun").exists
    assert wait_until(lambda: begun() or builder.poll() is not None, _PATIENCE)
    builder.send_signal(signal.SIGKILL)
    builder.wait()
    assert len(_left(cache)) == 1
    environment = Conda(packages=["alpha-one"], channels=[channel], pip=[str(endless)])
    assert not environment.is_built()
    assert build(environment)
    assert _left(cache) == []
    assert list((cache / "building").iterdir()) == []


def test_failed_build_leaves_nothing(build: Any, channel: str, cache: Path) -> None:
    """A requirement that cannot be met leaves no prefix."""
    environment = Conda(
        packages=["alpha-one"], channels=[channel], pip=["fal-core-no-such-project"]
    )
    with pytest.raises(EnvironmentBuildError, match="fal-core-no-such-project"):
        build(environment)
    assert _prefixes(cache) == []
    assert not environment.is_built()


def test_many_that_need_one_environment_cause_one_build(channel: str, cache: Path) -> None:
    """Threads and processes wait for the first that builds, and are told so."""
    environment = Conda(packages=["alpha-one"], channels=[channel])
    lines: list[Log] = []
    command = [sys.executable, "-c", textwrap.dedent(_BUILD), channel]
    others = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    with ThreadPoolExecutor(4) as pool:
        built = list(pool.map(lambda _: environment.build(lines.append, Event()), range(4)))
    printed = [line for other in others for line in other.communicate()[0].splitlines()]
    assert [other.returncode for other in others] == [0, 0]
    assert len({interpreter.command(()).argv for interpreter in built}) == 1
    said = [*printed, *(line.message for line in lines)]
    assert sum(line.startswith("Installing ") for line in said) == 1
    assert len(_prefixes(cache)) == 1


def test_damaged_prefix_is_built_again(build: Any, channel: str, cache: Path) -> None:
    """A prefix that lost its Python or a package is built from the packages chosen first."""
    environment = Conda(packages=["alpha-one"], channels=[channel])
    interpreter = build(environment)
    prefix = Path(interpreter.executable).parent.parent
    for damage in ("bin/python", ".fal-core-complete"):
        (prefix / damage).unlink()
        assert not environment.is_built()
        assert build(environment) == interpreter
        assert not any("Solving" in line for line in build.messages)
    shutil.rmtree(prefix)
    assert build(environment) == interpreter


def test_read_only_cache_is_an_error_that_says_so(
    build: Any, channel: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory that cannot be written is named."""
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("FAL_CORE_CACHE", os.fspath(blocked))
    with pytest.raises(EnvironmentBuildError, match="file"):
        build(Conda(packages=["alpha-one"], channels=[channel]))
