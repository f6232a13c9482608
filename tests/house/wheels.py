"""The wheels of all distributions, and virtual environments that are made of them."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from house.imports import ROOT

#: Seconds that a command may take; most take a few.
PATIENCE = 900.0


class Unreachable(Exception):
    """Packages could not be had: there is no index."""


def find_uv() -> str:
    """Return uv, which is beside this Python or on the path."""
    found = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}")
    found = found or shutil.which("uv")
    if found is None:
        raise FileNotFoundError("uv, which builds wheels and environments, is not installed.")
    return found


def install(*command: str) -> None:
    """
    Run an installer.

    Raises:
        Unreachable: There is no index.
        RuntimeError: It failed otherwise; what cannot be solved here is
            wrong everywhere.
    """
    # Tests with the lowest versions ask for those; here it is what users get.
    variables = {name: value for name, value in os.environ.items() if name != "UV_RESOLUTION"}
    done = subprocess.run(
        command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=PATIENCE
    )
    if done.returncode:
        said = done.stderr.strip()[-1000:]
        if "error sending request" in said or "dns error" in said:
            raise Unreachable(said)
        raise RuntimeError(f"{shlex.join(command)} ended with an error: {said}")


def build_wheels(place: Path) -> Path:
    """Build the wheels of all distributions, and return the folder of *place* that has them."""
    uv, python = find_uv(), str(place / "builder/bin/python")
    install(uv, "venv", "--quiet", "--python", sys.executable, str(place / "builder"))
    install(uv, "pip", "install", "--quiet", "--python", python, "hatchling")
    build = ("build", "--quiet", "--all-packages", "--wheel", "--no-build-isolation")
    install(uv, *build, "--python", python, "--out-dir", str(place / "dist"))
    return place / "dist"


def install_wheels(wheels: Path, environment: Path, extra: str, *, python: str) -> None:
    """Make the virtual environment *environment* of a Python, with an extra of the wheels."""
    uv, own = find_uv(), str(environment / "bin/python")
    install(uv, "venv", "--quiet", "--seed", "--python", python, str(environment))
    asked = ("--find-links", str(wheels), "--only-binary", ":all:", f"fal-core[{extra}]")
    install(uv, "pip", "install", "--quiet", "--python", own, *asked)
