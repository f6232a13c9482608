"""
Images by name: found where the engine has them, or pulled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fal_core.errors import EnvironmentBuildError
from fal_env_container.engines import Engine
from fal_env_container.images.built_images import BuiltImage


def find_image(engine: Engine, name: str) -> BuiltImage | None:
    """
    Return the image *name* that *engine* has; None if it has none of that name.
    """
    answer = engine.ask("image", "inspect", name)
    if answer.code != 0:
        return None
    return read_image(name, json.loads(answer.output)[0])


def pull(engine: Engine, name: str) -> BuiltImage:
    """
    Let *engine* pull the image *name*, and return it.

    Raises:
        EnvironmentBuildError: There is no such image, or it cannot be had.
    """
    answer = engine.ask("pull", name, seconds=3600.0)
    found = find_image(engine, name) if answer.code == 0 else None
    if found is None:
        raise EnvironmentBuildError("container", f"image {name!r}: {answer.problem}.")
    return found


def read_image(name: str, content: Mapping[str, Any]) -> BuiltImage:
    """
    Return the image that an engine describes as *content*.
    """
    config = content.get("Config") or {}
    pairs = (entry.partition("=") for entry in config.get("Env") or ())
    return BuiltImage(
        id=str(content["Id"]).removeprefix("sha256:"),
        name=name,
        platform=f"{content.get('Os', 'linux')}/{content.get('Architecture', '')}",
        user=config.get("User") or "",
        workdir=config.get("WorkingDir") or "",
        entrypoint=tuple(config.get("Entrypoint") or ()),
        variables={name: value for name, _, value in pairs},
    )
