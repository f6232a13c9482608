"""Variables: the environment variables that a worker inherits, and its secrets."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from fal_core.errors import OptionError

if TYPE_CHECKING:
    from pathlib import Path

#: Variables that change what Python imports; a worker has an environment of its own.
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

    It inherits those of the caller, except those that change what Python imports and
    *secrets*, which are sent separately, and only to functions that name them.

    Arguments:
        secrets: Names.

        added: Variables that the environment sets.
    """
    left_out = _OF_PYTHON.union(secrets)
    variables = {name: value for name, value in os.environ.items() if name not in left_out}
    return {**variables, **added}


def resolve_secrets(names: Iterable[str], origin: str | None = None) -> dict[str, str]:
    """
    Return the values of secrets, from environment variables or the project's ``.env``.

    Arguments:
        origin: The file of the function that uses them. The project around it is searched
            after the project around the working directory.

    Raises:
        OptionError: A secret is not set.
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


def find_dotenv(directory: str) -> Path | None:
    """Return the ``.env`` of *directory* or the project around it; None if there is none."""
    from pathlib import Path

    first = Path(directory).absolute()
    for folder in (first, *first.parents):
        if (folder / ".env").is_file():
            return folder / ".env"
        if (folder / "pyproject.toml").exists() or (folder / ".git").exists():
            return None
    return None


def read_dotenv(path: Path | None) -> dict[str, str]:
    """Return the variables that a ``.env`` file sets. References to others stay as written."""
    if path is None:
        return {}
    # It is slow to import, and few calls need it.
    from dotenv import dotenv_values

    values = dotenv_values(path, interpolate=False, encoding="utf-8")
    return {name: value for name, value in values.items() if value is not None}
