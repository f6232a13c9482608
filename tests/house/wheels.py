"""
The wheels of all distributions, and virtual environments that are made of them.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from house.imports import ROOT

#: Seconds that a command may take; most take a few.
PATIENCE = 900


def find_uv() -> str:
    """
    Return uv, which comes with the plugins.
    """
    found = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}")
    assert found is not None
    return found


def install(*command: str) -> None:
    """
    Run an installer; where it fails for want of an index, the tests that need it are left out.
    """
    # The tests with the lowest versions ask for those; here it is what users get.
    variables = {name: value for name, value in os.environ.items() if name != "UV_RESOLUTION"}
    done = subprocess.run(
        command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=PATIENCE
    )
    if done.returncode:
        # Where nobody looks, what was not tried would be taken for what works. What cannot
        # be solved is wrong everywhere.
        unreachable = "error sending request" in done.stderr or "dns error" in done.stderr
        tell = pytest.skip if unreachable and not os.environ.get("CI") else pytest.fail
        tell(f"{shlex.join(command)} ended with an error: {done.stderr.strip()[-1000:]}")


def build_wheels(place: Path) -> Path:
    """
    Build the wheels of all distributions, and return the folder of *place* that has them.
    """
    uv, python = find_uv(), str(place / "builder/bin/python")
    install(uv, "venv", "--quiet", "--python", sys.executable, str(place / "builder"))
    install(uv, "pip", "install", "--quiet", "--python", python, "hatchling")
    build = ("build", "--quiet", "--all-packages", "--wheel", "--no-build-isolation")
    install(uv, *build, "--python", python, "--out-dir", str(place / "dist"))
    return place / "dist"


def install_wheels(wheels: Path, environment: Path, extra: str, *, python: str) -> None:
    """
    Make the virtual environment *environment* of a Python, with an extra of the wheels.
    """
    uv, own = find_uv(), str(environment / "bin/python")
    install(uv, "venv", "--quiet", "--seed", "--python", python, str(environment))
    asked = ("--find-links", str(wheels), "--only-binary", ":all:", f"fal-core[{extra}]")
    install(uv, "pip", "install", "--quiet", "--python", own, *asked)
