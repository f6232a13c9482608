"""
Count the tests of the installed FastAPI that fail with FalFastAPI in its place.

The tests come from FastAPI's source distribution, with what they need. A test counts
if it fails twice with FalFastAPI, and passes with FastAPI. Arguments go to pytest.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path

VERSION = version("fastapi")
SOURCES = Path(sys.prefix) / f"fastapi-{VERSION}"
FAILED = SOURCES / "failed.txt"

#: Tests that run FastAPI in processes of their own, where nothing takes its place.
OTHER_PROCESSES = (
    "test_fastapi_cli.py",
    "test_telemetry/test_background.py::test_background_task_integrations",
    "test_telemetry/test_environment_integrations.py",
    "test_telemetry/test_integrations.py",
    "test_telemetry/test_native_integrations.py",
    "test_telemetry/test_runtime.py",
)


def main(arguments: list[str]) -> int:
    """Run the suite, name the tests that fail, and return how the process is to exit."""
    if not (SOURCES / "tests").exists():
        prepare()
    ignored = [f"--deselect=tests/{each}" for each in OTHER_PROCESSES]
    code = run("FalFastAPI", "-n", "2", *ignored, *(arguments or ["tests"]))
    failed = read_failed()
    if code not in (0, 1) or (code and not failed):
        print(f"pytest has not run the tests of FastAPI {VERSION}: exit code {code}.")
        return 2
    if failed:
        run("FalFastAPI", *sorted(failed))
        failed &= read_failed()
    if failed:
        run("FastAPI", *sorted(failed))
        failed -= read_failed()
    for each in sorted(failed):
        print("fails with FalFastAPI alone:", each)
    print(f"FastAPI {VERSION}: {len(failed)} of its tests fail with FalFastAPI alone.")
    return 1 if failed else 0


def prepare() -> None:
    """Download the tests of the installed FastAPI, and install what they need."""
    folder = SOURCES.parent
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    source = ["--no-binary=:all:", "--no-build-isolation", f"--dest={folder}"]
    subprocess.run([*download, *source, f"fastapi=={VERSION}"], check=True)
    (archive,) = folder.glob(f"fastapi-{VERSION}.tar*")
    install = [sys.executable, "-m", "uv", "pip", "install", "--quiet"]
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    group = f"--group={SOURCES / 'pyproject.toml'}:tests"
    subprocess.run(
        [*install, f"--python={sys.executable}", group, f"fastapi[all]=={VERSION}"], check=True
    )


def run(tested: str, *arguments: str) -> int:
    """Run tests with the class called *tested*, and return pytest's exit code."""
    FAILED.unlink(missing_ok=True)
    variables = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).resolve().parents[1]),
        "FAL_SUITE_CLASS": tested,
        "FAL_SUITE_FAILED": str(FAILED),
    }
    plugins = ["-p", "fastapi_suite.replacement", "-p", "no:sugar", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", "-q", "--tb=short", "--timeout=120", *plugins]
    return subprocess.run([*command, *arguments], cwd=SOURCES, env=variables).returncode


def read_failed() -> set[str]:
    """Return the ids of the tests that failed in the last run."""
    return set(FAILED.read_text().splitlines()) if FAILED.exists() else set()


sys.exit(main(sys.argv[1:]))
