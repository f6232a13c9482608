"""Logins to registries: those that the user's engine has, and those of a declaration."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fal_core.stores import file_stamps
from fal_env_container.engines import Engine

#: Keys of the engine's own file of logins that say where they are.
_KEPT = ("auths", "credHelpers", "credsStore")

#: The key of Docker's file that says which engine it speaks to, and the directories beside it
#: that describe engines and have the programs that build.
_CONTEXT, _BESIDE = "currentContext", ("contexts", "cli-plugins", "buildx")


def write_logins(
    engine: Engine,
    registries: Mapping[str, Mapping[str, str]],
    folder: str,
    *,
    trusted: bool = True,
) -> dict[str, str]:
    """
    Return the variables with which *engine* logs in to *registries*, beside those that it is
    logged in to already. The file that they name is in *folder*, readable for this user only.

    Arguments:
        trusted: Whether the engine's own logins are used too.
    """
    # A login that was declared in another process has lost its password on the way.
    registries = {name: login for name, login in registries.items() if login["password"]}
    if trusted and not registries:
        return {}
    content = _own_logins(engine) if trusted else {}
    auths = content.setdefault("auths", {})
    for registry, login in registries.items():
        pair = f"{login['username']}:{login['password']}".encode()
        auths[registry] = {"auth": base64.b64encode(pair).decode()}
    if engine.name != "podman":
        content |= _settings_of_docker(folder)
    path = os.path.join(folder, "config.json")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as stream:
        json.dump(content, stream)
    if engine.name == "podman":
        return {"REGISTRY_AUTH_FILE": path}
    return {"DOCKER_CONFIG": folder}


def login_terms(
    engine: Engine, registries: Mapping[str, Mapping[str, str]], *, trusted: bool = True
) -> tuple[object, ...]:
    """
    Return a value that tells who logs in to *registries*, and with the logins of *engine*.

    Arguments:
        trusted: Whether the engine's own logins are used too.
    """
    declared = [(name, sorted(login.items())) for name, login in sorted(registries.items())]
    files = map(str, _login_files(engine)) if trusted else ()
    return (engine.program, declared, trusted, file_stamps(files))


def _settings_of_docker(folder: str) -> dict[str, Any]:
    """
    Have Docker find the same engine with its settings in *folder*, and return those that are
    in its file. None is a login.
    """
    usual = _docker_folder()
    for name in _BESIDE:
        if (usual / name).is_dir() and not os.path.lexists(os.path.join(folder, name)):
            os.symlink(usual.absolute() / name, os.path.join(folder, name))
    try:
        content = json.loads((usual / "config.json").read_text("utf-8"))
        return {_CONTEXT: content[_CONTEXT]}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _docker_folder() -> Path:
    return Path(os.environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker"))


def _own_logins(engine: Engine) -> dict[str, Any]:
    for path in _login_files(engine):
        try:
            content = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(content, dict) and any(content.get(name) for name in _KEPT):
            return {name: content[name] for name in _KEPT if name in content}
    return {}


def _login_files(engine: Engine) -> list[Path]:
    """Return where *engine* looks for logins, in its order."""
    home = Path(os.path.expanduser("~"))
    docker = _docker_folder() / "config.json"
    if engine.name != "podman":
        return [docker]
    if named := os.environ.get("REGISTRY_AUTH_FILE"):
        return [Path(named)]
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"
    settings = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    return [
        Path("/run/containers") / str(os.geteuid()) / "auth.json",
        Path(runtime) / "containers/auth.json",
        settings / "containers/auth.json",
        docker,
    ]
