"""
The example of one function in four places, each by its command.

Images and channels are of this machine: the image has the name that the example writes, and
rattler's settings name a mirror of conda-forge.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
EXAMPLE = "examples/anywhere.py"
REQUIREMENT = "humanize==4.12.3"

pytestmark = pytest.mark.faults

needs_conda = pytest.mark.skipif(
    importlib.util.find_spec("fal_env_conda") is None, reason="fal-env-conda is not installed"
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache that has nothing yet."""
    monkeypatch.setenv("FAL_CORE_CACHE", str(tmp_path / "cache"))


def run_program(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``fal-core`` as the example says."""
    return subprocess.run(
        [sys.executable, "-m", "fal_core.cli", *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
    )


def answer(*arguments: str) -> str:
    """Return what the function of the example answers."""
    done = run_program("run", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_example_runs_in_a_virtual_environment() -> None:
    """The first command builds a virtual environment with the requirement."""
    assert re.fullmatch(
        r"'200\.0 MB held by Python 3\.\d+ in /\S+/virtualenvs/\w+'\n",
        answer(f"{EXAMPLE}::hold", "200"),
    )


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The URL of the directory of the test."""
    handler = partial(_QuietHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        """Print nothing."""


@needs_conda
def test_the_example_runs_in_a_conda_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, served: str
) -> None:
    """The second one solves for conda's package, and installs it."""
    _make_channel(tmp_path)
    settings = tmp_path / "config" / "rattler" / "config.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text(
        f'[mirrors]\n"https://conda.anaconda.org/conda-forge" = ["{served}/channel"]\n'
    )
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("RATTLER_CACHE_DIR", str(tmp_path / "rattler"))
    assert re.fullmatch(
        r"'200\.0 MB held by Python 3\.\d+ in /\S+/conda/\w+'\n",
        answer(f"{EXAMPLE}::in_conda", "200"),
    )


def _make_channel(folder: Path) -> None:
    """Make a channel with Python and the package."""
    from fal_env_conda.testing import CondaPackage, make_channel, package_python
    from fal_uv.running.uv import uv_command

    packages = folder / "packages"
    install = ["pip", "install", "--quiet", "--python", sys.executable, "--target", packages]
    subprocess.run([*uv_command(), *install, REQUIREMENT], check=True)
    files = {
        f"site-packages/{path.relative_to(packages)}": path.read_bytes()
        for path in packages.rglob("*")
        if path.is_file()
    }
    package = CondaPackage(
        name="humanize",
        version="4.12.3",
        build="py_0",
        depends=("python >=3.10",),
        files=files,
        any_python=True,
    )
    try:
        make_channel(folder / "channel", [package_python(), package])
    except LookupError as error:
        pytest.skip(str(error))


@pytest.fixture
def named_image(engine: Any) -> None:
    """An image of this machine's Python, by the name that the example writes."""
    engine.run("tag", engine.import_python(), "docker.io/library/python:3.12-slim")


def test_the_example_runs_in_a_container(named_image: None) -> None:
    """The third one installs the requirement on top of the image."""
    assert re.fullmatch(
        r"'200\.0 MB held by Python 3\.\d+ in /usr'\n",
        answer(f"{EXAMPLE}::in_container", "200"),
    )


def test_the_example_meets_the_limits_of_its_machine_type() -> None:
    """The last one is ended by the memory of the machine type, and says which one has more."""
    done = run_program("run", f"{EXAMPLE}::hold", "1200", "--enforce")
    assert done.returncode == 1
    assert "Limits of machine type 'S': memory 1 GB" in done.stderr
    assert "machine type 'S' has 1 GB. The next larger one is 'M', with 2 GB." in done.stderr


@needs_conda
def test_explain_shows_what_each_will_do(named_image: None) -> None:
    """
    Without a name, all functions of the file are explained: where each would run, in what,
    and that containers keep the limits.
    """
    done = run_program("explain", "--on", "all", EXAMPLE)
    assert done.returncode == 0, done.stderr
    told = {part.partition(":")[0]: part for part in done.stdout.split("\n\n")}
    assert "environment  virtualenv (key " in told["hold on local"]
    assert "environment  conda (key " in told["in_conda on local"]
    contained = told["in_container on local"]
    assert ": runs\n" in contained
    assert "environment  container (key " in contained
    assert "not built yet)" in contained
    assert "applies  machine_type = 'S'" in contained
    assert "kept     machine_type = 'S'" in told["hold on local"]


def test_explain_says_that_there_is_no_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A function in a container does not run where nothing can make one."""
    monkeypatch.delenv("FAL_CORE_CONTAINER_ENGINE", raising=False)
    monkeypatch.setenv("PATH", os.fspath(tmp_path))
    done = run_program("explain", f"{EXAMPLE}::in_container")
    assert done.stdout.startswith("in_container on local: does not run\n")
    assert "no container engine is installed. Install Podman or Docker." in done.stdout
