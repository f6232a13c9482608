"""Images by name: what the engine has."""

from __future__ import annotations

import json
import math
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
_NEVER = (-math.inf, None)


def find_images(engine: Engine, names: Iterable[str]) -> dict[str, BuiltImage | None]:
    """
    Return the images that *engine* has of *names*; None for those that it lacks.

    Raises:
        EnvironmentBuildError: The engine does not answer.
    """
    wanted = list(dict.fromkeys(names))
    now = time.monotonic()
    seen = {name: _seen.get((engine, name), _NEVER) for name in wanted}
    found = {name: image for name, (when, image) in seen.items() if now - when < _FRESH}
    asked = [name for name in wanted if name not in found]
    # Others may be told to forget meanwhile.
    found |= _look(engine, asked) if asked else {}
    return {name: found[name] for name in wanted}


def find_image(engine: Engine, name: str) -> BuiltImage | None:
    """Return the image *name* that *engine* has; None if it has none of that name."""
    return find_images(engine, [name])[name]


def find_new_image(engine: Engine, name: str) -> BuiltImage | None:
    """
    Return the image *name*, which *engine* may have had for no time; None if it has none.

    It is asked now: another thread may have just kept an answer from before.
    """
    return _look(engine, [name])[name]


def forget(engine: Engine, *names: str) -> None:
    """Ask *engine* for *names* when they are needed next."""
    for name in names:
        _seen.pop((engine, name), None)


def forget_image(engine: Engine, image: BuiltImage) -> None:
    """Ask *engine* for *image*, which it no longer has, when it is next needed by any name."""
    gone = [
        name
        for (where, name), (_, found) in list(_seen.items())
        if where == engine and found is not None and found.id == image.id
    ]
    forget(engine, *gone)


def _look(engine: Engine, names: list[str]) -> dict[str, BuiltImage | None]:
    """Return the images *names* as *engine* has them now."""
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
        return {name: _look(engine, [name])[name] for name in names}
    now = time.monotonic()
    images = dict(zip(names, found, strict=True))
    for name, image in images.items():
        _seen[engine, name] = (now, image)
    return images
