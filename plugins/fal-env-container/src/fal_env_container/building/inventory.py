"""
Images by name: what the engine has.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable

from fal_core.errors import EnvironmentBuildError
from fal_env_container.engines import KIND, Engine
from fal_env_container.images.built_images import BuiltImage

#: Seconds that what the engine has is taken for unchanged: for as long as one call is made.
_FRESH = 2.0

#: What engines say of a name that they have no image of.
_LACKS = re.compile(r"image not known|no such (image|object)|not found", re.I)

_seen: dict[tuple[Engine, str], tuple[float, BuiltImage | None]] = {}


def find_images(engine: Engine, names: Iterable[str]) -> dict[str, BuiltImage | None]:
    """
    Return the images that *engine* has of *names*; None for those that it lacks.

    Raises:
        EnvironmentBuildError: The engine does not answer.
    """
    wanted = list(dict.fromkeys(names))
    now = time.monotonic()
    asked = [name for name in wanted if not _is_fresh(engine, name, now)]
    if asked:
        _look(engine, asked)
    return {name: _seen[engine, name][1] for name in wanted}


def find_image(engine: Engine, name: str) -> BuiltImage | None:
    """
    Return the image *name* that *engine* has; None if it has none of that name.
    """
    return find_images(engine, [name])[name]


def forget(engine: Engine, *names: str) -> None:
    """
    Ask *engine* for *names* when they are needed next.
    """
    for name in names:
        _seen.pop((engine, name), None)


def forget_image(engine: Engine, image: BuiltImage) -> None:
    """
    Ask *engine* for *image*, which it has no more, by whatever name it is needed next.
    """
    gone = [
        name
        for (where, name), (_, found) in list(_seen.items())
        if where == engine and found is not None and found.id == image.id
    ]
    forget(engine, *gone)


def _is_fresh(engine: Engine, name: str, now: float) -> bool:
    seen = _seen.get((engine, name))
    return seen is not None and now - seen[0] < _FRESH


def _look(engine: Engine, names: list[str]) -> None:
    answer = engine.ask("image", "inspect", "--format", "{{json .}}", *names)
    lines = answer.output.splitlines()
    found: list[BuiltImage | None]
    if answer.code == 0 and len(lines) == len(names):
        contents = map(json.loads, lines)
        found = [
            BuiltImage.read(name, each) for name, each in zip(names, contents, strict=True)
        ]
    elif len(names) == 1 and answer.code != 0 and _LACKS.search(answer.errors):
        found = [None]
    elif len(names) == 1:
        raise EnvironmentBuildError(
            KIND, f"{engine.name} does not say whether it has {names[0]}: {answer.problem}."
        )
    else:
        # The engine does not tell which of them it lacks.
        for name in names:
            _look(engine, [name])
        return
    now = time.monotonic()
    for name, image in zip(names, found, strict=True):
        _seen[engine, name] = (now, image)
