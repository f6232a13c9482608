"""Secrets: values that functions name, and their workers are sent."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from fal_core.errors import OptionError


def resolve_secrets(names: Iterable[str], origin: str | None = None) -> dict[str, str]:
    """
    Return the values of secrets, from environment variables or else from the ``.env`` of the
    project around the working directory, or around the file *origin*.

    Raises:
        OptionError: A secret is not set.
    """
    values: dict[str, str] = {}
    for name in names:
        value = os.environ.get(name)
        if value is None:
            value = _read_projects(origin).get(name)
        if value is None:
            raise OptionError(
                f"Secret {name!r} is not set. Set the environment variable {name}, or write "
                "it to the file .env of the project."
            )
        values[name] = value
    return values


def _read_projects(origin: str | None) -> dict[str, str]:
    # It is slow to import, and few calls need it.
    from dotenv import dotenv_values

    values: dict[str, str] = {}
    folders = [os.getcwd()] if origin is None else [os.path.dirname(origin), os.getcwd()]
    for folder in folders:
        path = _find_dotenv(Path(folder).absolute())
        if path is not None:
            read = dotenv_values(path, interpolate=False, encoding="utf-8")
            values |= {name: value for name, value in read.items() if value is not None}
    return values


def _find_dotenv(first: Path) -> Path | None:
    for folder in (first, *first.parents):
        if (folder / ".env").is_file():
            return folder / ".env"
        if (folder / "pyproject.toml").exists() or (folder / ".git").exists():
            return None
    return None
