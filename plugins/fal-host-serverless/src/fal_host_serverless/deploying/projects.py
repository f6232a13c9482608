"""Projects: applications that a ``pyproject.toml`` declares under ``[tool.fal.apps]``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from fal_core.calls import AuthMode
from fal_core.conversion import structure
from fal_core.errors import OptionError
from fal_host_serverless.account.toml_files import TomlError, read_toml
from fal_host_serverless.errors import WrongArgument
from fal_host_serverless.values import DeploymentStrategy
from fal_host_serverless.wire.health_checks import FIELDS

#: The keys of an image and their types. Keys that only a built image has are not among them.
_OF_IMAGES = {
    "image": str,
    "registries": dict[str, dict[str, str]],
    "entrypoint": str | list[str],
    "cmd": str | list[str],
}
#: Keys for replacing the scaling that is set by the declared one; the last negates it.
_RESETS = ("app_scale_settings", "reset_scale", "no_scale")


@attrs.frozen(kw_only=True)
class DeclaredApp:
    """
    An application as a project, or a reference to a file, declares it.

    Attributes:
        ref: Its file and its name there, as in ``file.py::App``. None if the application
            comes with its environment.

        entry_point: Its place in the environment, as in ``package.module:App``. None if
            the image serves by its own command.

        image: The image that it runs in, if any.

        team: The team that a login acts for.

        options: Options that replace those of its own declaration. Folders are absolute;
            the project writes them relative to its own.
    """

    name: str
    ref: str | None
    entry_point: str | None = None
    image: Mapping[str, Any] | None = None
    auth: AuthMode | None = None
    strategy: DeploymentStrategy | None = None
    reset_scale: bool | None = None
    team: str | None = None
    options: Mapping[str, Any] = attrs.field(factory=dict)


def find_project(start: Path | None = None) -> Path | None:
    """Return the nearest ``pyproject.toml`` above *start* that declares applications."""
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        path = folder / "pyproject.toml"
        if path.is_file() and _apps(path):
            return path
    return None


def names(path: Path) -> list[str]:
    """Return the names of the applications in *path*."""
    return list(_apps(path))


def read_app(path: Path, name: str) -> DeclaredApp:
    """
    Return the application *name* of the project in *path*.

    Raises:
        WrongArgument: There is none of that name.

        OptionError: Its declaration is wrong.
    """
    found = _apps(path)
    if name not in found:
        known = ", ".join(found) or "none"
        raise WrongArgument(f"{path} declares no application {name!r}. It declares: {known}.")
    options = dict(found[name])
    where = f"tool.fal.apps.{name}"

    def take(key: str, annotation: Any) -> Any:
        return structure(options.pop(key, None), annotation | None, f"{where}.{key}")

    ref, entry_point = take("ref", str), take("python_entry_point", str)
    image = take("image", dict[str, Any])
    if ref is None and entry_point is None and image is None:
        raise OptionError(
            f"Application {name!r} in {path} has no 'ref'. Write as in ref = 'app.py::App'."
        )
    if ref is not None and (entry_point is not None or image is not None):
        other = "python_entry_point" if entry_point is not None else "image"
        raise OptionError(
            f"{where} has 'ref' and {other!r}. What a file defines is sent, and runs in an "
            "environment of its own; an image runs its own command or a 'python_entry_point'."
        )
    if entry_point is not None and not all(entry_point.partition(":")):
        raise OptionError(
            f"{where}.python_entry_point is {entry_point!r}, which names no application. "
            "Write as in 'package.module:App'."
        )
    resets = {key: take(key, bool) for key in _RESETS}
    health_check = take("health_check", dict[str, Any])
    if health_check is not None:
        check = _read_health_check(health_check, f"{where}.health_check")
        # An image that serves by its own command is no application of Python: the usual
        # method of the web is its default.
        alone = image is not None and entry_point is None
        options["health_check_config"] = {"method": "GET", **check} if alone else check
    if image is not None and options.get("app_files"):
        raise OptionError(f"{where} has 'app_files' and 'image'. An image has its own files.")
    _place_folders(options, path.parent, where)
    return DeclaredApp(
        name=take("name", str) or name,
        ref=None if ref is None else str(path.parent / ref),
        entry_point=entry_point,
        image=None if image is None else _read_image(image, f"{where}.image"),
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
    """Return the option ``health_check_config`` for the table ``health_check``."""
    for key in written:
        if key not in FIELDS:
            raise OptionError(
                f"{where} has the unknown key {key!r}. A health check has: {', '.join(FIELDS)}."
            )
    if "path" not in written:
        raise OptionError(f'{where} has no path. Write as in {{ path = "/health" }}.')
    method = written.get("method")
    spelled = {**written, "method": method.upper()} if isinstance(method, str) else written
    return {
        key: structure(value, FIELDS[key], f"{where}.{key}") for key, value in spelled.items()
    }


def _read_image(written: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the image that the table ``image`` describes."""
    if "dockerfile" in written:
        raise OptionError(
            f"{where} has 'dockerfile', which only fal's own SDK sends to be built. Build the "
            "image, put it into a registry, and name it as in { image = 'registry/name:tag' }."
        )
    for key in written:
        if key not in _OF_IMAGES:
            raise OptionError(
                f"{where} has the unknown key {key!r}. An image has: {', '.join(_OF_IMAGES)}."
            )
    if not written.get("image"):
        raise OptionError(f"{where} has no image. Write as in {{ image = 'python:3.12' }}.")
    image: dict[str, Any] = {
        key: structure(value, _OF_IMAGES[key], f"{where}.{key}")
        for key, value in written.items()
    }
    for key, registry in image.get("registries", {}).items():
        if not {"username", "password"} <= {*registry}:
            raise OptionError(f"{where}.registries.{key} needs a username and a password.")
    return image


def _place_folders(options: dict[str, Any], project: Path, where: str) -> None:
    """Make the folders of *options* absolute, in place; *project* is their default."""
    for key, of in (
        ("app_files_context_dir", None),
        ("requirements_context_dir", "requirements"),
    ):
        written = structure(options.get(key), str | None, f"{where}.{key}")
        if written or of in options:
            options[key] = str((project / Path(written or ".").expanduser()).resolve())


def _apps(path: Path) -> dict[str, Any]:
    try:
        content = read_toml(path)
    except (OSError, TomlError) as error:
        raise OptionError(f"{path} cannot be read: {error}") from error
    apps = content.get("tool", {}).get("fal", {}).get("apps", {})
    return apps if isinstance(apps, dict) else {}
