"""
Projects: the applications that a ``pyproject.toml`` declares, under ``[tool.fal.apps]``.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from fal_core.calls import AuthMode
from fal_core.converters import structure
from fal_core.errors import OptionError
from fal_host_serverless.hosts import DeploymentStrategy

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_NOT_HERE = ("image", "python_entry_point")


@attrs.frozen(kw_only=True)
class Declared:
    """
    An application of a project.

    Attributes:
        ref: Its file and its name there, as in ``file.py::App``.

        options: Options over those of its own.
    """

    name: str
    ref: str
    auth: AuthMode | None = None
    strategy: DeploymentStrategy | None = None
    reset_scale: bool | None = None
    options: Mapping[str, Any] = attrs.field(factory=dict)


def find_project(start: Path | None = None) -> Path | None:
    """
    Return the nearest ``pyproject.toml`` above *start* that declares applications.
    """
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        path = folder / "pyproject.toml"
        if path.is_file() and _apps(path):
            return path
    return None


def names(path: Path) -> list[str]:
    """
    Return the names of the applications in *path*.
    """
    return list(_apps(path))


def read_app(path: Path, name: str) -> Declared:
    """
    Return the application *name* of the project in *path*.

    Raises:
        OptionError: It has none of that name, or declares it wrongly.
    """
    found = _apps(path)
    if name not in found:
        known = ", ".join(found) or "none"
        raise OptionError(f"{path} declares no application {name!r}. It declares: {known}.")
    options = dict(found[name])
    for key in _NOT_HERE:
        if key in options:
            raise OptionError(
                f"Application {name!r} in {path} has {key!r}, which only fal's own SDK "
                "deploys. Name a file and a class in 'ref', as in 'app.py::App'."
            )
    ref = options.pop("ref", None)
    if not isinstance(ref, str):
        raise OptionError(
            f"Application {name!r} in {path} has no 'ref'. Write as in ref = 'app.py::App'."
        )
    options.pop("team", None)

    def take(key: str, annotation: Any) -> Any:
        where = f"tool.fal.apps.{name}.{key}"
        return structure(options.pop(key, None), annotation | None, where)

    reset, kept = take("reset_scale", bool), take("no_scale", bool)
    return Declared(
        name=take("name", str) or name,
        ref=str(path.parent / ref),
        auth=take("auth", AuthMode),
        strategy=take("deployment_strategy", DeploymentStrategy),
        reset_scale=reset if kept is None else not kept,
        options=options,
    )


def _apps(path: Path) -> dict[str, Any]:
    try:
        text = tomllib.loads(path.read_text("utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise OptionError(f"{path} cannot be read: {error}") from error
    apps = text.get("tool", {}).get("fal", {}).get("apps", {})
    return apps if isinstance(apps, dict) else {}
