"""
What a worker sees of the caller's environment, and the secrets it is given.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from fal_core.errors import OptionError

if TYPE_CHECKING:
    from pathlib import Path

#: Variables that change what Python imports; a worker's environment is its own.
_OF_PYTHON = frozenset(
    (
        "PYTHONPATH",
        "PYTHONHOME",
        "PYTHONSTARTUP",
        "PYTHONSAFEPATH",
        "PYTHONINSPECT",
        "PYTHONEXECUTABLE",
        "PYTHONUSERBASE",
        "PYTHONPLATLIBDIR",
        "VIRTUAL_ENV",
        "VIRTUAL_ENV_PROMPT",
        "CONDA_PREFIX",
        "CONDA_DEFAULT_ENV",
        "UV_PROJECT_ENVIRONMENT",
        "__PYVENV_LAUNCHER__",
    )
)


def worker_variables(secrets: Iterable[str], added: Mapping[str, str]) -> dict[str, str]:
    """
    Return the environment variables of a worker.

    It sees those of the caller, what is Python's own aside. The names of
    *secrets* are left out: they arrive apart, and only where they are named.
    """
    left_out = _OF_PYTHON.union(secrets)
    variables = {name: value for name, value in os.environ.items() if name not in left_out}
    return {**variables, **added}


def resolve_secrets(names: Iterable[str], origin: str | None = None) -> dict[str, str]:
    """
    Return the values of secrets: from the environment, then the project's ``.env``.

    Arguments:
        origin: The file of the function that names them. The project around it is
            looked at after the one around the working directory.

    Raises:
        OptionError: One is in none of these.
    """
    values: dict[str, str] = {}
    written: dict[str, str] | None = None
    for name in names:
        value = os.environ.get(name)
        if value is None:
            if written is None:
                written = read_dotenv(find_dotenv(os.path.dirname(origin))) if origin else {}
                written |= read_dotenv(find_dotenv(os.getcwd()))
            value = written.get(name)
        if value is None:
            asked = "" if origin is None else f", which a function in {origin} names,"
            beside = "" if origin is None else "beside that file, or "
            raise OptionError(
                f"Secret {name!r}{asked} is not set. Set the environment variable {name}, "
                f"or write it to the file .env {beside}of the project."
            )
        values[name] = value
    return values


def find_dotenv(place: str) -> Path | None:
    """
    Return the ``.env`` of the directory *place* or the project around it.
    """
    from pathlib import Path

    directory = Path(place).absolute()
    for folder in (directory, *directory.parents):
        if (folder / ".env").is_file():
            return folder / ".env"
        if (folder / "pyproject.toml").exists() or (folder / ".git").exists():
            return None
    return None


def read_dotenv(path: Path | None) -> dict[str, str]:
    """
    Return the variables that a ``.env`` file sets.
    """
    values: dict[str, str] = {}
    if path is None:
        return values
    for line in path.read_text(encoding="utf-8").splitlines():
        line = line.strip().removeprefix("export ").lstrip()
        name, equals, value = line.partition("=")
        if not equals or line.startswith("#"):
            continue
        value = value.strip()
        if value[:1] in ("'", '"') and value.endswith(value[0]) and len(value) > 1:
            quote, value = value[0], value[1:-1]
            if quote == '"':
                value = value.replace("\\n", "\n").replace('\\"', '"')
        else:
            value = value.partition(" #")[0].rstrip()
        values[name.strip()] = value
    return values
