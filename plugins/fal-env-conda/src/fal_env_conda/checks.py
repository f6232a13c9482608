"""What ``fal-core doctor`` checks about conda environments."""

from __future__ import annotations

import shutil
from importlib.metadata import PackageNotFoundError, version

from fal_core.checks import Check, Finding
from fal_env_conda.rattling.processes import Rattler, RattlerError


def health_checks() -> list[Check]:
    """Return the checks of this plugin."""
    return [Check("rattler", check_rattler), Check("conda activation", check_shell)]


def check_rattler() -> Finding:
    """Check that rattler works in a process of its own, and say what it knows of this machine."""
    try:
        with Rattler() as rattler:
            found = rattler.ask("detect")
        installed = version("py-rattler")
    except (RattlerError, OSError, PackageNotFoundError) as error:
        return Finding(
            False,
            f"Rattler does not work: {error}. Run 'pip install --force-reinstall py-rattler'.",
        )
    named = ", ".join(package.rpartition("=")[0] for package in found)
    return Finding(True, f"py-rattler {installed}; this machine has {named}.")


def check_shell() -> Finding:
    """Check that scripts can be run with which packages are activated."""
    found = shutil.which("bash")
    if found is None:
        return Finding(
            False,
            "There is no bash, which activates conda packages that have scripts for it. "
            "Install bash.",
        )
    return Finding(True, f"Packages are activated by {found}.")
