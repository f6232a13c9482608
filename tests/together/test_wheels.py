"""
What is installed from wheels, as the first page of the repository says.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from fal_core_worker.serving import networks
from fal_core_worker.serving.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
for name in ("fal_server", "fal_serve", "fal_host_serverless", "fal_env_conda"):
    pytest.importorskip(name)

#: A newer Python, whose wheels are as much tried as those of this one.
NEWER = "python3.15"

#: Seconds that a command may take; most take a few.
PATIENCE = 900


def read_blocks(language: str, title: str = "") -> list[str]:
    """
    Return the blocks of the first page, or of its section *title*.
    """
    page = (ROOT / "README.md").read_text("utf-8")
    if title:
        page = page.partition(f"## {title}\n")[2].partition("\n## ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)


def find_newer() -> str | None:
    """
    Return the newer Python: that of the path, or one that was unpacked in the clone.
    """
    unpacked = ROOT / ".tox/pythons" / NEWER.removeprefix("python") / "usr/bin" / NEWER
    return shutil.which(NEWER) or (str(unpacked) if unpacked.is_file() else None)


@attrs.frozen
class Installed:
    """
    A virtual environment with an extra of fal-core, and a folder where commands are typed.

    Attributes:
        folder: It has the examples, and the wheels in ``dist``, as a clone does.
    """

    folder: Path
    binaries: Path

    @property
    def variables(self) -> dict[str, str]:
        """
        The variables of its commands, which find neither this clone nor its environment.
        """
        cleared = ("FAL_", "PYTHON", "ISOLATE_", "UV_RESOLUTION")
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(cleared)
        }
        cache = os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))
        return kept | {
            "PATH": f"{self.binaries}{os.pathsep}{os.environ['PATH']}",
            "VIRTUAL_ENV": str(self.binaries.parent),
            "HOME": str(self.folder / "home"),
            "XDG_CACHE_HOME": cache,
            "FAL_CORE_CACHE": str(self.folder / "cache"),
        }

    def type(self, commands: str) -> str:
        """
        Type *commands*, and return what they print to standard output.
        """
        done = subprocess.run(
            ["bash", "-ec", commands],
            cwd=self.folder,
            env=self.variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, f"{commands}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def make_installed(install_extra, wheels: Path, tmp_path_factory: pytest.TempPathFactory):
    """
    Make a virtual environment of a Python, with an extra of the wheels.
    """

    def make(python: str, extra: str) -> Installed:
        place = tmp_path_factory.mktemp(extra)
        install_extra(place / "venv", extra, python=python)
        folder = place / "clone"
        folder.mkdir()
        (folder / "dist").symlink_to(wheels)
        shutil.copytree(ROOT / "examples", folder / "examples")
        return Installed(folder, place / "venv/bin")

    return make


@pytest.fixture(scope="module", params=[sys.executable, NEWER], ids=["this Python", NEWER])
def python(request: pytest.FixtureRequest) -> str:
    """
    This Python, and a newer one.
    """
    if request.param != NEWER:
        return sys.executable
    found = find_newer()
    if found is None:
        pytest.skip(f"{NEWER} is neither on the path nor in .tox/pythons.")
    return found


@pytest.fixture(scope="module")
def everything(python: str, make_installed) -> Installed:
    """
    Everything, in an environment of each Python.
    """
    return make_installed(python, "all")


def test_packages_of_wheels_are_typed(wheels: Path):
    """
    Every package of every wheel says that it has types.
    """
    for wheel in sorted(wheels.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            files = archive.namelist()
        packages = {each.split("/")[0] for each in files if each.endswith("/__init__.py")}
        assert packages
        assert not [each for each in packages if f"{each}/py.typed" not in files], wheel.name


def test_first_call_is_installed_and_run_as_the_page_says(make_installed):
    """
    What the page types to install fal-core for functions on this machine is enough for them.
    """
    # pip is asked for nothing that is not there already.
    local = make_installed(sys.executable, "local")
    first, again = read_blocks("console", "Install")
    build, *rest = first.splitlines()
    assert build == "python3 dev.py wheels"
    local.type("\n".join(rest))
    *_, shown = again.splitlines()
    expected = re.escape(shown.removeprefix("# ")).replace("…", r"\d+")
    assert re.fullmatch(expected, local.type(again).strip())
    assert re.fullmatch(
        expected, local.type("fal-core run examples/first_call.py::describe 3000000").strip()
    )


def test_programs_of_the_page_run(everything: Installed):
    """
    The code of the page, as one program, runs from wheels alone.
    """
    program = "\n".join(read_blocks("python"))
    assert "AppClient.connect" in program
    (everything.folder / "page.py").write_text(program, "utf-8")
    everything.type("python -W error page.py")


def test_nothing_of_the_tests_is_installed_with_all(everything: Installed):
    """
    The extra with everything brings no tool for tests, and nothing that does not fit together.
    """
    names = everything.type("uv pip check --quiet && uv pip freeze").lower()
    assert "fal-server==" in names
    assert not re.search(r"^(pytest|hypothesis)==", names, re.MULTILINE)
    assert "broken" not in everything.type("fal-core plugins list")


def test_service_of_the_page_is_served_and_called(make_installed):
    """
    The service runs with the extra that the page names, and answers as the page shows.
    """
    served = make_installed(sys.executable, "serve")
    start, call = read_blocks("console", "Serve it")
    port = str(free_port())
    command = shlex.split(start.replace("8000", port))
    with subprocess.Popen(
        command,
        cwd=served.folder,
        env=served.variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        executable=str(served.binaries / "fal-core"),
    ) as service:
        try:
            assert service.stdout is not None
            told = []
            for line in service.stdout:
                told.append(line)
                if "/playground" in line:
                    break
            else:
                pytest.fail("".join(told))
            answers = served.type(call.replace("8000", port))
        finally:
            service.terminate()
            service.communicate(timeout=PATIENCE)
    answer = call.splitlines()[1].removeprefix("# ")
    streamed = answers.removeprefix(answer).split()
    assert answers.startswith(answer)
    assert streamed == ["data:", '"to"', "data:", '"be"']


@pytest.fixture
def own_server(make_installed) -> Iterator[Installed]:
    """
    The extra of the server, which runs.
    """
    newer = find_newer()
    installed = make_installed(newer or sys.executable, "server")
    opened = ["--allow-open-runners"] if networks.missing() else []
    with subprocess.Popen(
        [installed.binaries / "fal-core", "server", "start", "--port", "0", *opened],
        cwd=installed.folder,
        env=installed.variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        try:
            assert server.stdout is not None
            assert any(line.startswith("# Ready") for line in server.stdout)
            yield installed
        finally:
            server.terminate()
            server.communicate(timeout=PATIENCE)
            data = installed.folder / "home/.local/share/fal-core/server"
            installed.type(f"fal-core server end-runners --data {shlex.quote(str(data))}")


def test_server_of_the_page_is_deployed_to_and_called(own_server: Installed):
    """
    The extra of the server has all that its section types.
    """
    (source,) = [each for each in read_blocks("python", "Serve it") if "class Reader" in each]
    (own_server.folder / "app.py").write_text(source, "utf-8")
    (commands,) = read_blocks("console", "Run your own server")
    *_, last = own_server.type(commands).splitlines()
    assert f"# {last}\n" in commands
