"""The image that an environment asks for: its key, whether the engine has it, and how it is had."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from threading import Event

import attrs

from fal_core.errors import EnvironmentBuildError
from fal_core.events import LogSink
from fal_env_container.building import builds, inventory
from fal_env_container.building.recipes import ImageRecipe
from fal_env_container.building.records import image_name, read_record
from fal_env_container.engines import Engine
from fal_env_container.finding import ARCHITECTURES, find_engine, find_engine_if_any
from fal_env_container.images.built_images import BuiltImage
from fal_env_container.images.container_images import ContainerImage

#: Seconds for which the image that a name leads to stays in keys. Asking takes the time of
#: starting the engine, and keys are made often.
_KEPT = 60.0

_known: dict[tuple[Engine, str], tuple[float, BuiltImage | None]] = {}

#: Images that this process was told to build anew, and has.
_forced: set[str] = set()


@attrs.frozen
class ImageRequest:
    """
    The image that an environment asks for.

    Attributes:
        image: What is built, or the name of an image.

        platform: As in ``linux/arm64``. None for that of the engine.

        force: Whether it is had anew, once in each process.

        trusted: Whether the engine's own logins are used for it.

        tenant: Whose it is, where it is not the user's.
    """

    image: str | ContainerImage
    platform: str | None = None
    force: bool = False
    trusted: bool = True
    tenant: str = ""


def image_key(request: ImageRequest) -> str:
    """
    Return a digest of what the image of *request* depends on, and the ids of the images
    that it stands on, as far as they are known.
    """
    engine = find_engine_if_any()
    recipe = _recipe(request, engine)
    if recipe is None:
        name = str(request.image)
        found = _images_of(engine, [name])[name]
        return f"{name} {request.platform} {found.id if found else ''}"
    images = _images_of(engine, recipe.sources.bases)
    return recipe.key({name: each.id if each else "" for name, each in images.items()})


def image_stamp(request: ImageRequest) -> object:
    """Return what changes with the files of the image's build, if it reads any."""
    recipe = _recipe(request, find_engine_if_any(), kept=math.inf)
    return None if recipe is None else recipe.stamp


def find_image(request: ImageRequest) -> BuiltImage | None:
    """
    Return the image of *request* that the engine has; None if it is to be had first.

    Raises:
        EnvironmentBuildError: There is no engine.
    """
    engine = find_engine()
    recipe = _recipe(request, engine)
    if request.force and _forced_name(request, recipe) not in _forced:
        return None
    if recipe is None:
        found = inventory.find_image(engine, str(request.image))
        return found if found is not None and found.is_for(request.platform) else None
    return builds.find_built(engine, recipe)


def find_or_build(
    request: ImageRequest, log: LogSink, cancelled: Event
) -> tuple[Engine, BuiltImage]:
    """
    Return the image of *request*, built or pulled if need be, and the engine that has it.

    Raises:
        EnvironmentBuildError: There is no engine, or the image cannot be had.

        Cancelled: *cancelled* was set.
    """
    engine = find_engine()
    found = find_image(request)
    if found is not None:
        return engine, found
    recipe = _recipe(request, engine)
    if recipe is None:
        name, platform = str(request.image), request.platform
        pull = partial(builds.pull, engine, name, platform, log, cancelled)
        found = pull(force=request.force, trusted=request.trusted)
    else:
        build = partial(builds.build, engine, recipe, log, cancelled)
        found = build(force=request.force, trusted=request.trusted)
    if request.force:
        _forced.add(_forced_name(request, recipe))
    return engine, found


def _recipe(
    request: ImageRequest, engine: Engine | None, *, kept: float = _KEPT
) -> ImageRecipe | None:
    """
    Return what the image of *request* is built of; None for an image by name.

    Arguments:
        kept: Seconds for which what is known of the images that it stands on is believed.
    """
    image = request.image
    if not isinstance(image, ContainerImage):
        return None
    platform = request.platform or _platform(engine)
    recipe = ImageRecipe(image, platform, trusted=request.trusted, tenant=request.tenant)

    def find_name() -> list[str]:
        record = read_record(recipe.digest)
        return [] if record is None else [image_name(record.key)]

    # In one question to the engine with what comes next: whether it has the image.
    images = _images_of(engine, recipe.sources.bases, beside=find_name, kept=kept)
    return recipe.on(images)


def _platform(engine: Engine | None) -> str:
    if engine is not None:
        return engine.platform
    machine = os.uname().machine
    return f"linux/{ARCHITECTURES.get(machine, machine)}"


def _forced_name(request: ImageRequest, recipe: ImageRecipe | None) -> str:
    return f"name {request.image}" if recipe is None else recipe.digest


def _images_of(
    engine: Engine | None,
    names: Sequence[str],
    *,
    beside: Callable[[], Sequence[str]] = tuple,
    kept: float = _KEPT,
) -> dict[str, BuiltImage | None]:
    """
    Return the images *names*; None for those that *engine* does not have.

    Arguments:
        beside: Returns further names that it is asked for, if it is asked.

        kept: Seconds for which an answer is believed.
    """
    if engine is None:
        return dict.fromkeys(names)
    now = time.monotonic()
    nothing = (-math.inf, None)
    unknown = [name for name in names if now - _known.get((engine, name), nothing)[0] >= kept]
    if unknown:
        try:
            found = inventory.find_images(engine, [*unknown, *beside()])
        except EnvironmentBuildError:
            return dict.fromkeys(names)
        for name in unknown:
            _known[engine, name] = (now, found[name])
    return {name: _known[engine, name][1] for name in names}
