"""uv: where it is installed, the variables it is started with, and short commands."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence

from fal_core.errors import EnvironmentBuildError

#: The oldest uv that reads and writes locks as they are asked for here.
OLDEST_UV = (0, 13)

# Variables that would lead uv, or the Python it starts, to another environment.
_DROPPED = (
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONSTARTUP",
    "PYTHONSAFEPATH",
    "__PYVENV_LAUNCHER__",
    "UV_PYTHON",
    "UV_SYSTEM_PYTHON",
    "UV_PROJECT_ENVIRONMENT",
    "UV_WORKING_DIR",
    "UV_PROJECT",
    # Whether a lock must be current is declared.
    "UV_FROZEN",
    "UV_LOCKED",
)


def uv_command() -> tuple[str, ...]:
    """
    Return the command that starts uv.

    Raises:
        EnvironmentBuildError: uv is not installed.
    """
    try:
        from uv import find_uv_bin

        return (find_uv_bin(),)
    except (ImportError, FileNotFoundError):
        found = shutil.which("uv")
    if found is None:
        raise EnvironmentBuildError(
            "Python", "uv, which builds it, is not installed. Run 'pip install uv'."
        )
    return (found,)


def uv_variables(changes: Mapping[str, str | None] = {}) -> dict[str, str]:
    """
    Return the environment variables that uv is started with.

    Variables for certificates and proxies are passed on; variables that would lead uv to
    another environment are not.

    Arguments:
        changes: Variables to set; None removes one.
    """
    variables = {name: value for name, value in os.environ.items() if name not in _DROPPED}
    if "PIP_CERT" in variables:
        variables.setdefault("SSL_CERT_FILE", variables["PIP_CERT"])
    if "REQUESTS_CA_BUNDLE" in variables:
        variables.setdefault("SSL_CERT_FILE", variables["REQUESTS_CA_BUNDLE"])
    variables.setdefault("UV_PYTHON_DOWNLOADS", "never")
    variables["NO_COLOR"] = "1"
    for name, value in changes.items():
        if value is None:
            variables.pop(name, None)
        else:
            variables[name] = value
    return variables


def ask(
    command: Sequence[str],
    *,
    errors: bool = False,
    variables: Mapping[str, str | None] = {},
    directory: str | None = None,
) -> tuple[int, str]:
    """
    Run a short *command*, and return its exit code and its output.

    If it cannot be started, or takes more than a minute, the exit code is 127 and the
    output says why.

    Arguments:
        errors: Whether the output includes standard error.

        variables: Changes to the variables of this process; None removes one.
    """
    try:
        answer = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if errors else subprocess.DEVNULL,
            env=uv_variables(variables),
            cwd=directory,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return 127, str(error)
    return answer.returncode, answer.stdout.decode(errors="replace")
