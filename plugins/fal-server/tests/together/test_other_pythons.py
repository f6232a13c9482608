"""Clients and servers that run on two minor versions of Python."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest
from programs import read_told

from fal_server.state.data_directories import DataDirectory
from fal_testing.pythons import find_other_python

#: A function, as a client of fal-core runs it.
CORE_FUNCTION = """
import json, sys
from fal_core import function

@function("virtualenv", host="serverless", keep_alive=0)
def find():
    import sys
    print("looking")
    return list(sys.version_info[:2])

print("JSON " + json.dumps([list(sys.version_info[:2]), find()]))
"""

#: The same as the released SDK runs it.
SDK_FUNCTION = """
import json, sys, fal

@fal.function(machine_type="XS", keep_alive=0)
def find():
    import sys
    print("looking")
    return list(sys.version_info[:2])

print("JSON " + json.dumps([list(sys.version_info[:2]), find()]))
"""

CORE_APPLICATION = """
from fal_serve import App, endpoint

class Found(App, kind="virtualenv", keep_alive=0):
    @endpoint("/")
    def find(self) -> list[int]:
        import sys
        return list(sys.version_info[:2])
"""

SDK_APPLICATION = """
import fal

class Found(fal.App, keep_alive=0):
    machine_type = "XS"

    @fal.endpoint("/")
    def find(self) -> list[int]:
        import sys
        return list(sys.version_info[:2])
"""


@attrs.frozen(kw_only=True)
class Pair:
    """
    A server, and clients of another Python.

    Attributes:
        python: What the client of fal-core runs on, of the *version*.

        released: The released clients, of the same.
    """

    data: Path
    variables: dict[str, str]
    python: str
    version: list[int]
    released: Any

    def run(self, command: list[str], file: Path) -> str:
        """Run a client beside *file*, and return its output."""
        home = self.data.parent / "home"
        done = subprocess.run(
            [*command, str(file)],
            env={"PATH": "/usr/bin:/bin", "HOME": str(home), **self.variables},
            cwd=file.parent,
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def other_python() -> str:
    """A supported Python of another minor version."""
    # Those for which all that it installs has been built.
    return find_other_python("3.11", "3.13", "3.14").executable


@pytest.fixture(scope="module")
def installed(
    other_python: str, tmp_path_factory: pytest.TempPathFactory, programs: Any
) -> str:
    """That Python with fal-core and the plugins."""
    pytest.importorskip("fal_host_serverless")
    made: str = programs.install_this(tmp_path_factory.mktemp("other") / "core", other_python)
    return made


@pytest.fixture(scope="module", params=["server here", "client here"])
def pair(
    request: pytest.FixtureRequest,
    installed: str,
    tmp_path_factory: pytest.TempPathFactory,
    programs: Any,
) -> Iterator[Pair]:
    """A server of one Python, and clients of the other."""
    served = request.param == "server here"
    server, client = (sys.executable, installed) if served else (installed, sys.executable)
    folder = tmp_path_factory.mktemp("pair")
    released = programs.install_clients(folder / "released", "newest", client)
    program = programs.Program(folder / "data", python=server)
    variables = dict(program.wait_until_ready())
    variables["FAL_KEY"] = DataDirectory(folder / "data").read_key()
    asked = [client, "-c", "import sys; print(*sys.version_info[:2])"]
    told = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    yield Pair(
        data=folder / "data",
        variables=variables,
        python=client,
        version=[int(word) for word in told.split()],
        released=released,
    )
    program.end()
    programs.end_runners(folder / "data")


@pytest.mark.parametrize("code", [CORE_FUNCTION, SDK_FUNCTION], ids=["core", "sdk"])
def test_function_of_another_python(pair: Pair, code: str, tmp_path: Path):
    """A function runs on the Python version of its caller, which is not that of the server."""
    file = tmp_path / "finding.py"
    file.write_text(code)
    released = str(pair.released.folder / "bin" / "python")
    printed = pair.run([pair.python if code is CORE_FUNCTION else released], file)
    assert "looking" in printed
    assert read_told(printed) == [pair.version, pair.version]


@pytest.mark.parametrize("code", [CORE_APPLICATION, SDK_APPLICATION], ids=["core", "sdk"])
def test_application_of_another_python(pair: Pair, code: str, tmp_path: Path):
    """An application is served by the Python version that it was deployed from."""
    core = code is CORE_APPLICATION
    name = "core" if core else "sdk"
    file = tmp_path / "serving.py"
    file.write_text(code)
    released = [str(pair.released.folder / "bin" / "fal"), "deploy", "--app-name", name]
    own = [pair.python, "-m", "fal_core.cli", "deploy", "--app-name", name]
    pair.run(own if core else released, Path(f"{file}::Found"))
    with httpx.Client(
        base_url=f"http://{pair.variables['FAL_RUN_HOST']}",
        headers={"Authorization": f"Key {pair.variables['FAL_KEY']}"},
        timeout=120,
        trust_env=False,
    ) as client:
        answer = client.post(f"/owner/{name}", json={})
    assert answer.status_code == 200, answer.text
    assert answer.json() == pair.version


# -- without a client ------------------------------------------------------------------


def test_pickle_of_another_python(served_plane: Any, other_python: str):
    """A function pickled by another Python runs on that Python."""
    import cloudpickle
    from isolate_proto import HostedRun, HostedRunStatus

    code = f"""
    import sys
    sys.path.append({str(Path(cloudpickle.__file__).parents[1])!r})
    import cloudpickle
    def find():
        import sys
        return list(sys.version_info[:2])
    print(cloudpickle.dumps(find).hex())
    """
    done = subprocess.run(
        [other_python, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    version = Path(other_python).name.removeprefix("python")
    request = HostedRun(application_name="find")
    request.environments.add(kind="virtualenv").configuration["python_version"] = version
    request.function.method = "cloudpickle"
    request.function.definition = bytes.fromhex(done.stdout)
    last = [*served_plane.plane.stream("Run", request)][-1]
    assert last.status.state == HostedRunStatus.SUCCESS
    found = cloudpickle.loads(last.return_value.definition)
    assert ".".join(map(str, found)) == version
