"""
Builds: one of an image at a time, in a copy of the files that its Dockerfile reads.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Event

from fal_core.errors import EnvironmentBuildError
from fal_core.events import LogSink
from fal_env_container.building import inventory
from fal_env_container.building.build_logs import BuildLog
from fal_env_container.building.caller_settings import Certificates, proxies
from fal_env_container.building.leftovers import Leftovers, remove_later, remove_waiting
from fal_env_container.building.logins import write_logins
from fal_env_container.building.processes import run
from fal_env_container.building.recipes import Recipe
from fal_env_container.building.records import (
    KEY_LABEL,
    LAYER_LABEL,
    BuildPlace,
    ImageRecord,
    building,
    image_name,
    mark_used,
    read_record,
    write_record,
)
from fal_env_container.engines import KIND, Engine
from fal_env_container.images.built_images import BuiltImage

#: What Podman writes before the reason of a failed step.
_AT_STEP = re.compile(r'^building at STEP ".*?": (?:while running runtime: )?', re.DOTALL)
#: A line of the Dockerfile, in what BuildKit says.
_LINE = re.compile(r"\b(line )(\d+)")
#: What BuildKit writes around it.
_SOLVING = re.compile(
    r'^failed to (?:solve|build): (?:process ".*" did not complete successfully: )?', re.DOTALL
)


def find_built(engine: Engine, recipe: Recipe) -> BuiltImage | None:
    """
    Return the image of *recipe* that *engine* has; None if it has to be built.
    """
    record = read_record(recipe.digest)
    if record is None:
        return None
    name = image_name(record.key)
    found = inventory.find_images(engine, [name, *record.bases])
    for base, known in record.bases.items():
        image = found[base]
        # Its name may lead to another image by now.
        if image is not None and image.id != known:
            return None
    mark_used(recipe.digest)
    return found[name]


def build(
    engine: Engine,
    recipe: Recipe,
    sink: LogSink,
    cancelled: Event,
    *,
    force: bool = False,
    trusted: bool = True,
) -> BuiltImage:
    """
    Build the image of *recipe*, unless another thread or process does so meanwhile.

    Arguments:
        force: Whether to build anew, on what the registries have now.

        trusted: Whether the engine's own logins are used.

    Raises:
        EnvironmentBuildError: It cannot be built.

        Cancelled: *cancelled* was set.
    """
    image = recipe.image
    hidden = [
        *image.secrets.values(),
        *(login["password"] for login in image.registries.values()),
    ]
    log = BuildLog(sink, tuple(text for text in hidden if text))

    def on_wait() -> None:
        log.write("Waiting for another build of this image")

    remove_waiting()
    left: list[Leftovers] = []
    try:
        with disk_errors(), building(recipe.digest, cancelled, on_wait) as place:
            found = None if force else find_built(engine, recipe)
            if found is None:
                logins = write_logins(engine, image.registries, place.folder, trusted=trusted)
                found = _build(
                    *(engine, recipe, log, cancelled, place, left), logins=logins, force=force
                )
    finally:
        # Once the files of the build are gone there may be room for it.
        for each in left:
            remove_later(each)
    return found


def pull(
    engine: Engine,
    name: str,
    platform: str | None,
    sink: LogSink,
    cancelled: Event,
    *,
    force: bool = False,
    trusted: bool = True,
) -> BuiltImage:
    """
    Return the image *name*, which *engine* pulls if it does not have it.

    Arguments:
        force: Whether to pull what the registry has now.

        trusted: Whether the engine's own logins are used.

    Raises:
        EnvironmentBuildError: There is no such image, or it cannot be had.

        Cancelled: *cancelled* was set.
    """
    log = BuildLog(sink)

    def on_wait() -> None:
        log.write("Waiting for another pull of this image")

    digest = re.sub(r"[^A-Za-z0-9._-]", "-", f"{name}-{platform or ''}")[:200]
    with disk_errors(), building(digest, cancelled, on_wait) as place:
        found = inventory.find_image(engine, name)
        if found is not None and not found.is_for(platform):
            found = None
        if found is None or force:
            logins = write_logins(engine, {}, place.folder, trusted=trusted)
            found = _pull(engine, name, log, cancelled, place, logins, found, platform)
    return found


@contextmanager
def disk_errors() -> Iterator[None]:
    """
    Turn errors of the file system into errors of the build.
    """
    try:
        yield
    except OSError as error:
        what = f" ({error.filename})" if error.filename else ""
        raise EnvironmentBuildError(KIND, f"{error.strerror or error}{what}.") from error


def _build(
    engine: Engine,
    recipe: Recipe,
    log: BuildLog,
    cancelled: Event,
    place: BuildPlace,
    left: list[Leftovers],
    *,
    logins: Mapping[str, str],
    force: bool,
) -> BuiltImage:
    _check_secrets(recipe.image.secrets)
    recipe.check_sources()
    image, variables = recipe.image, logins
    bases = {}
    foreign = None if recipe.platform == engine.platform else recipe.platform
    for name in recipe.sources.bases:
        base = inventory.find_image(engine, name)
        if base is not None and not base.is_for(foreign):
            base = None
        if base is None or force:
            base = _pull(engine, name, log, cancelled, place, variables, base, foreign)
        bases[name] = base.id
    # What is copied now is what is built, whatever happens to the files.
    recipe = recipe.copy_to(os.path.join(place.folder, "context"))
    key = recipe.key(bases)
    name = image_name(key)
    certificates = Certificates.of_caller()
    text = certificates.add_to(image.dockerfile_str)
    for file, content in (("Dockerfile", text), ("Dockerfile.dockerignore", "")):
        with open(os.path.join(place.folder, file), "w", encoding="utf-8") as stream:
            stream.write(content)
    build_name = os.path.basename(place.folder).rpartition(".")[2]
    label = f"{LAYER_LABEL}={build_name}"
    log.unsaid, log.added = certificates.mounts, bool(certificates.files)
    log.write(f"Building an image from {', '.join(bases) or 'nothing'}")
    log.begin()
    began = time.time()
    code = run(
        engine,
        *_arguments(engine, recipe, place, certificates, key=key, label=label, force=force),
        place=place,
        on_line=log.write,
        cancelled=cancelled,
        variables={**variables, **_secret_variables(image.secrets)},
        afterwards=[engine.command("image", "prune", "--force", "--filter", f"label={label}")],
    )
    inventory.forget(engine, name)
    found = inventory.find_image(engine, name) if code == 0 else None
    if found is None:
        if log.says_disk_is_full:
            left.append(Leftovers(engine, began, tuple(bases.values()), label))
        raise _build_error(engine, log, image.dockerfile_str, certificates)
    write_record(recipe.digest, ImageRecord(key=key, bases=bases))
    return found


def _pull(
    engine: Engine,
    name: str,
    log: BuildLog,
    cancelled: Event,
    place: BuildPlace,
    variables: Mapping[str, str],
    known: BuiltImage | None,
    platform: str | None = None,
) -> BuiltImage:
    try:
        return inventory.pull(
            engine,
            name,
            log,
            cancelled,
            place=place,
            platform=platform,
            variables=variables,
        )
    except EnvironmentBuildError:
        # An image of this machine alone is the newest there is.
        if known is None:
            raise
        return known


def _arguments(
    engine: Engine,
    recipe: Recipe,
    place: BuildPlace,
    certificates: Certificates,
    *,
    key: str,
    label: str,
    force: bool,
) -> list[str]:
    """
    Return the arguments with which *engine* builds the image of *key*.
    """
    image = recipe.image
    arguments = ["build", f"--file={place.folder}/Dockerfile", f"--tag={image_name(key)}"]
    arguments += [f"--label={KEY_LABEL}={key}", f"--platform={recipe.platform}"]
    arguments += [f"--build-arg={name}={value}" for name, value in image.build_args.items()]
    arguments += [
        f"--secret=id={name},env={_variable(number)}"
        for number, name in enumerate(image.secrets)
    ]
    arguments += certificates.options()
    arguments += ["--no-cache"] if force else []
    if engine.name == "podman":
        # As Docker makes images: with SHELL, HEALTHCHECK and ONBUILD.
        arguments += ["--format=docker", "--layers", "--force-rm", f"--layer-label={label}"]
        arguments += [f"--ignorefile={place.folder}/Dockerfile.dockerignore"]
    else:
        # Podman takes them from the environment by itself.
        arguments += [f"--build-arg={name}" for name in proxies()]
        arguments += ["--progress=plain"]
    return [*arguments, os.path.join(place.folder, "context")]


def _check_secrets(secrets: Mapping[str, str]) -> None:
    lost = next((name for name, value in secrets.items() if not value), None)
    if lost is not None:
        raise EnvironmentBuildError(
            KIND,
            f"The secret {lost!r} of the image has no value here: secrets of a build do not "
            "leave the process in which they are declared. Call the function once there, which "
            "builds the image, before it is called by others or detached.",
        )


def _variable(number: int) -> str:
    return f"BUILD_SECRET_{number}"


def _secret_variables(secrets: Mapping[str, str]) -> dict[str, str]:
    """
    Return the environment variables in which an engine reads *secrets*.
    """
    return {_variable(number): value for number, value in enumerate(secrets.values())}


def _build_error(
    engine: Engine, log: BuildLog, text: str, certificates: Certificates
) -> EnvironmentBuildError:
    """
    Return the error of a build of the Dockerfile *text* that failed: at which step, and why.
    """

    def line_of(found: re.Match[str]) -> str:
        return f"{found[1]}{certificates.line_before(text, int(found[2]))}"

    problem = _SOLVING.sub("", _AT_STEP.sub("", log.problem))
    if log.step is None:
        problem = _LINE.sub(line_of, problem)
    if log.says_disk_is_full:
        problem = "the disk is full. Free some space, as by 'fal-core env prune'"
    where = f"{engine.name} says" if log.step is None else f"{log.step} failed"
    return EnvironmentBuildError(KIND, f"{where}: {problem}.", lines=log.last_lines)
