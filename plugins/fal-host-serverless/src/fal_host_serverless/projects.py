"""
Projects: the applications that a ``pyproject.toml`` declares, under ``[tool.fal.apps]``.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

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
#: What says that a deployment takes the scaling that is declared; the last says so by no.
_RESETS = ("app_scale_settings", "reset_scale", "no_scale")
_HEALTH_CHECK: dict[str, Any] = {
    "path": str,
    "start_period_seconds": int,
    "timeout_seconds": int,
    "failure_threshold": int,
    "call_regularly": bool,
    "method": Literal["GET", "POST"],
}


@attrs.frozen(kw_only=True)
class Declared:
    """
    An application of a project.

    Attributes:
        ref: Its file and its name there, as in ``file.py::App``.

        team: Whom a login acts for.

        options: Options over those of its own. Folders in them are absolute: a project
            writes them relative to its own.
    """

    name: str
    ref: str
    auth: AuthMode | None = None
    strategy: DeploymentStrategy | None = None
    reset_scale: bool | None = None
    team: str | None = None
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
    where = f"tool.fal.apps.{name}"

    def take(key: str, annotation: Any) -> Any:
        return structure(options.pop(key, None), annotation | None, f"{where}.{key}")

    resets = {key: take(key, bool) for key in _RESETS}
    check = take("health_check", dict[str, Any])
    if check is not None:
        options["health_check_config"] = _read_health_check(check, f"{where}.health_check")
    _place_folders(options, path.parent, where)
    return Declared(
        name=take("name", str) or name,
        ref=str(path.parent / ref),
        auth=take("auth", AuthMode),
        strategy=take("deployment_strategy", DeploymentStrategy),
        reset_scale=_one_of(resets, where),
        team=take("team", str),
        options=options,
    )


def _one_of(resets: Mapping[str, bool | None], where: str) -> bool | None:
    written = {key: value for key, value in resets.items() if value is not None}
    if len(written) > 1:
        raise OptionError(f"{where} has {' and '.join(map(repr, written))}. Write one.")
    return next((value != (key == "no_scale") for key, value in written.items()), None)


def _read_health_check(written: Mapping[str, Any], where: str) -> dict[str, Any]:
    """
    Return the option ``health_check_config``, as the table ``health_check`` writes it.
    """
    for key in written:
        if key not in _HEALTH_CHECK:
            raise OptionError(
                f"{where} has {key!r}, which is nothing of a health check. It has: "
                f"{', '.join(_HEALTH_CHECK)}."
            )
    if "path" not in written:
        raise OptionError(f'{where} has no path. Write as in {{ path = "/health" }}.')
    method = written.get("method")
    spelt = {**written, "method": method.upper()} if isinstance(method, str) else written
    return {
        key: structure(value, _HEALTH_CHECK[key], f"{where}.{key}")
        for key, value in spelt.items()
    }


def _place_folders(options: dict[str, Any], project: Path, where: str) -> None:
    """
    Make what paths are relative to absolute, in place: *project* where nothing is said.
    """
    for key, of in (
        ("app_files_context_dir", None),
        ("requirements_context_dir", "requirements"),
    ):
        written = structure(options.get(key), str | None, f"{where}.{key}")
        if written or of in options:
            options[key] = str((project / Path(written or ".").expanduser()).resolve())


def _apps(path: Path) -> dict[str, Any]:
    try:
        text = tomllib.loads(path.read_text("utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise OptionError(f"{path} cannot be read: {error}") from error
    apps = text.get("tool", {}).get("fal", {}).get("apps", {})
    return apps if isinstance(apps, dict) else {}
