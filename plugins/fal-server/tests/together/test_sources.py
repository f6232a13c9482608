"""Sources: projects of the caller's machine that functions require, sent and built once."""

from __future__ import annotations

import json
import os
import re
import subprocess
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

pytest.importorskip("fal_host_serverless")
pytest.importorskip("fal_env_virtualenv")

pytestmark = pytest.mark.faults

FILES = {
    "own/pyproject.toml": """
        [build-system]
        requires = ["flit_core>=3.9,<4"]
        build-backend = "flit_core.buildapi"

        [project]
        name = "own"
        version = "1.0"
        description = "One word."
        """,
    "own/src/own/__init__.py": 'WORD = "first"',
    "telling.py": """
        from fal_core import function


        @function("virtualenv", requirements=["./own"], host="serverless")
        def tell():
            import own

            return own.WORD


        if __name__ == "__main__":
            print([tell() for _ in range(3)])
        """,
}


PACKAGE = {
    "pyproject.toml": """
        [build-system]
        requires = ["flit_core>=3.9,<4"]
        build-backend = "flit_core.buildapi"

        [project]
        name = "stockroom"
        version = "1.0"
        description = "An application of its own."

        [tool.fal.apps.shop]
        python_entry_point = "stockroom:Shop"
        requirements = ["."]
        """,
    "src/stockroom/__init__.py": """
        from http.server import BaseHTTPRequestHandler, HTTPServer


        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"42")


        class Shop:
            @staticmethod
            def build_metadata():
                return {"openapi": {"paths": {"/look": {}}}}

            @staticmethod
            def run_local(exposed_port=8080, exposed_metrics_port=9090):
                HTTPServer(("127.0.0.1", exposed_port), Handler).serve_forever()
        """,
}


@pytest.fixture(scope="module")
def variables(
    tmp_path_factory: pytest.TempPathFactory, launch_program: Any, programs: Any
) -> Iterator[Mapping[str, str]]:
    """The variables that point clients at a server of their own."""
    data = tmp_path_factory.mktemp("sources") / "data"
    program = launch_program(data)
    yield dict(program.wait_until_ready())
    program.end()
    programs.end_runners(data)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The directory of a function and its local requirements."""
    for name, content in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(content).lstrip("\n"))
    return tmp_path


@pytest.fixture
def run(
    variables: Mapping[str, str], project: Path, programs: Any
) -> Callable[..., tuple[str, list[str]]]:
    """
    Run a module in a process of its own, and return its output and the steps that were
    taken for it.
    """

    def run(*arguments: str) -> tuple[str, list[str]]:
        done = subprocess.run(
            [programs.FAL_CORE[0], *arguments],
            cwd=project,
            env={**os.environ, **variables, "FAL_CORE_CACHE": str(project / "cache")},
            capture_output=True,
            text=True,
            timeout=2 * programs.PATIENCE,
        )
        assert done.returncode == 0, done.stderr
        lines = re.findall(r"^(Uploading|Building)\b", done.stderr, re.M)
        return done.stdout.strip(), lines

    return run


def test_source_is_sent_and_built_once(run: Any, project: Path) -> None:
    """
    Calls and processes with an unchanged project neither send nor build it again; a change
    does both.
    """
    assert run("telling.py") == ("['first', 'first', 'first']", ["Uploading", "Building"])
    assert run("telling.py") == ("['first', 'first', 'first']", [])
    (project / "own/src/own/__init__.py").write_text('WORD = "other"')
    assert run("telling.py") == ("['other', 'other', 'other']", ["Uploading", "Building"])
    # It serves nothing, and so it does not come up.
    deploy = ("-m", "fal_core.cli", "deploy", "telling.py::tell", "--detach")
    assert run(*deploy)[1] == []


def test_old_source_is_sent_again_without_a_build(run: Any, project: Path) -> None:
    """
    Source that was sent long ago is sent again but not built again, also if its files have
    other times and the client has no record of it.
    """
    run("telling.py")
    (kept,) = (project / "cache/serverless").glob("*/distribution.json")
    facts = json.loads(kept.read_text())
    for place in facts["places"].values():
        place[1] -= 3600
    kept.write_text(json.dumps(facts))
    assert run("telling.py")[1] == ["Uploading"]
    for path in (project / "own").rglob("*"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    kept.unlink()
    assert run("telling.py")[1] == ["Uploading"]


def test_lost_source_is_sent_again(run: Any, project: Path) -> None:
    """
    Source that a service has lost is sent again; its old address is not given to an
    installer.
    """
    run("telling.py")
    (kept,) = (project / "cache/serverless").glob("*/distribution.json")
    facts = json.loads(kept.read_text())
    for place in facts["places"].values():
        place[0] = place[0].replace("/storage/files/", "/storage/files/no")
    kept.write_text(json.dumps(facts))
    assert run("telling.py")[1] == ["Uploading"]


def test_entry_point_is_deployed(run: Any, project: Path, variables: Mapping[str, str]) -> None:
    """An application that a package of the project names is deployed without being sent."""
    for name, content in PACKAGE.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(textwrap.dedent(content).lstrip("\n"))
    printed, lines = run("-m", "fal_core.cli", "deploy")
    (url,) = re.findall(r"^Sync: (\S+)", printed, re.M)
    assert url == f"http://{variables['FAL_RUN_HOST']}/owner/shop/look"
    assert lines == ["Uploading", "Building"]
    headers = {"Authorization": f"Key {variables['FAL_KEY']}"}
    answer = httpx.post(url, headers=headers, timeout=120, trust_env=False)
    assert (answer.status_code, answer.json()) == (200, 42)
    assert run("-m", "fal_core.cli", "deploy")[1] == []
