"""Builds: one of an image at a time, in a copy of the files that its Dockerfile reads."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from threading import Event

import attrs

from fal_core.digests import digest
from fal_core.errors import EnvironmentBuildError, OptionError
from fal_core.events import LogSink
from fal_core.stores import describe_disk_error
from fal_env_container.building import inventory, pulls
from fal_env_container.building.build_logs import BuildLog
from fal_env_container.building.caller_settings import (
    Certificates,
    loopback_proxies,
    proxies,
)
from fal_env_container.building.logins import login_terms, write_logins
from fal_env_container.building.processes import CommandRunner
from fal_env_container.building.recipes import ImageRecipe
from fal_env_container.building.records import (
    KEY_LABEL,
    BuildPlace,
    ImageRecord,
    building,
    image_name,
    mark_of,
    mark_used,
    read_record,
    write_record,
)
from fal_env_container.building.replaced_images import note_replaced, remove_replaced
from fal_env_container.engines import KIND, Engine
from fal_env_container.images.built_images import BuiltImage
from fal_env_container.images.strangers import check_triggers
from fal_env_container.limits import build_options

#: How long a line of a secret of several lines is at least that no log shows: others, such as
#: a brace, say nothing.
_SHORTEST = 8

#: What Podman writes before the reason of a failed step.
_AT_STEP = re.compile(r'^building at STEP ".*?": (?:while running runtime: )?', re.DOTALL)
#: A line of the Dockerfile, in what BuildKit says.
_LINE = re.compile(r"\b(line )(\d+)")
#: What BuildKit writes around it.
_SOLVING = re.compile(
    r'^failed to (?:solve|build): (?:process ".*" did not complete successfully: )?', re.DOTALL
)


def find_built(engine: Engine, recipe: ImageRecipe) -> BuiltImage | None:
    """Return the image of *recipe* that *engine* has; None if it has to be built."""
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
    recipe: ImageRecipe,
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
    log = BuildLog(sink, tuple(_lines_of(hidden)))

    def on_wait() -> None:
        log.write("Waiting for another build of this image")

    remove_waiting()
    left: list[Leftovers] = []
    logins = login_terms(engine, image.registries, trusted=trusted)
    terms = (engine.settings, sorted(image.secrets.items()), logins, force)
    try:
        with (
            disk_errors(),
            building(recipe.digest, cancelled, on_wait, terms=terms) as place,
        ):
            # Another build may have brought the images that it stands on.
            recipe = recipe.on(inventory.find_images(engine, recipe.sources.bases))
            found = None if force else find_built(engine, recipe)
            if found is None:
                runner = CommandRunner(
                    engine=engine,
                    place=place,
                    log=log,
                    cancelled=cancelled,
                    variables=write_logins(
                        engine, image.registries, place.folder, trusted=trusted
                    ),
                )
                found = _build(runner, recipe, left, force=force, trusted=trusted)
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

    asked = digest(f"{name} {platform or ''}".encode())
    terms = (engine.settings, login_terms(engine, {}, trusted=trusted), force)
    with disk_errors(), building(asked, cancelled, on_wait, terms=terms) as place:
        runner = CommandRunner(
            engine=engine,
            place=place,
            log=log,
            cancelled=cancelled,
            variables=write_logins(engine, {}, place.folder, trusted=trusted),
        )
        return _find_or_pull(runner, name, platform, force=force)


@contextmanager
def disk_errors() -> Iterator[None]:
    """Turn errors of the file system into errors of the build."""
    try:
        yield
    except OSError as error:
        raise EnvironmentBuildError(KIND, describe_disk_error(error)) from error


def _lines_of(secrets: Iterable[str]) -> list[str]:
    """Return the lines of *secrets*, the longest first: a log is masked line by line."""
    lines = {line.strip() for text in secrets for line in text.splitlines()}
    short = {text.strip() for text in secrets}
    return sorted(
        (line for line in lines if len(line) >= _SHORTEST or (line and line in short)),
        key=len,
        reverse=True,
    )


def _build(
    runner: CommandRunner,
    recipe: ImageRecipe,
    left: list[Leftovers],
    *,
    force: bool,
    trusted: bool,
) -> BuiltImage:
    engine, place, log = runner.engine, runner.place, runner.log
    _check_secrets(recipe.image.secrets)
    recipe.check_sources()
    images = _bases(runner, recipe, force=force)
    bases = {name: image.id for name, image in images.items()}
    if not trusted:
        _check_triggers(images)
    # What is copied now is what is built, even if the files change meanwhile.
    recipe = recipe.on(images).copy_to(os.path.join(place.folder, "context"))
    mark = mark_of(recipe.tenant) if recipe.tenant else ""
    certificates = Certificates.of_caller(mark=mark)
    _write_dockerfile(place, certificates.add_to(recipe.image.dockerfile_str))
    key = recipe.key(bases)
    name = image_name(key)
    before = inventory.find_image(engine, name)
    log.unsaid, log.added = certificates.mounts, certificates.declares
    log.write(f"Building an image from {', '.join(bases) or 'nothing'}")
    began = time.time()
    secrets = _secret_variables(recipe.image.secrets)
    code = attrs.evolve(runner, variables={**runner.variables, **secrets}).run(
        *_arguments(engine, recipe, place, certificates, key=key, force=force, trusted=trusted),
        afterwards=[
            engine.command("image", "prune", "--force", f"--filter=label={place.label}")
        ],
    )
    found = inventory.find_new_image(engine, name) if code == 0 else None
    if found is None:
        if log.says_disk_is_full:
            left.append(Leftovers(engine, began, tuple(bases.values()), place.label))
        raise _build_error(engine, recipe, log, certificates)
    write_record(recipe.digest, ImageRecord(key=key, bases=bases))
    if before is not None and before.id != found.id:
        note_replaced(before.id, bases.values())
        remove_replaced(engine)
    return found


def _check_triggers(images: Mapping[str, BuiltImage]) -> None:
    for name, image in images.items():
        try:
            check_triggers(name, image.triggers)
        except OptionError as error:
            raise EnvironmentBuildError(KIND, str(error)) from None


def _bases(runner: CommandRunner, recipe: ImageRecipe, *, force: bool) -> dict[str, BuiltImage]:
    """Return the images that *recipe* stands on by their names, pulled if need be."""
    # One for the platform of the engine may say nothing about it.
    platform = None if recipe.platform == runner.engine.platform else recipe.platform
    return {
        name: _find_or_pull(runner, name, platform, force=force)
        for name in recipe.sources.bases
    }


def _find_or_pull(
    runner: CommandRunner, name: str, platform: str | None, *, force: bool
) -> BuiltImage:
    """
    Return the image *name*, which the engine has or pulls.

    Arguments:
        force: Whether to pull what the registry has now.
    """
    found = inventory.find_image(runner.engine, name)
    if found is not None and not found.is_for(platform):
        found = None
    if found is not None and not force:
        return found
    try:
        return pulls.pull(runner, name, platform)
    except EnvironmentBuildError:
        # An image of this machine alone is the newest there is.
        if found is None:
            raise
        log = runner.log
        log.write(f"Using the image {name} that is here, which cannot be pulled: {log.problem}")
        return found


def _write_dockerfile(place: BuildPlace, text: str) -> None:
    # What is left out was left out when the files were copied.
    for file, content in (("Dockerfile", text), ("Dockerfile.dockerignore", "")):
        with open(os.path.join(place.folder, file), "w", encoding="utf-8") as stream:
            stream.write(content)


def _arguments(
    engine: Engine,
    recipe: ImageRecipe,
    place: BuildPlace,
    certificates: Certificates,
    *,
    key: str,
    force: bool,
    trusted: bool,
) -> list[str]:
    """Return the arguments with which *engine* builds the image of *key*."""
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
    arguments += [] if trusted else build_options(engine)
    if trusted and engine.place == "here" and loopback_proxies():
        # Steps have no other way to them. Those of a stranger would have all else there, too.
        arguments.append("--network=host")
    if engine.name == "podman":
        # As Docker makes images: with SHELL, HEALTHCHECK and ONBUILD.
        arguments += [
            "--format=docker",
            "--layers",
            "--force-rm",
            f"--layer-label={place.label}",
        ]
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
    """Return the environment variables in which an engine reads *secrets*."""
    return {_variable(number): value for number, value in enumerate(secrets.values())}


def _build_error(
    engine: Engine, recipe: ImageRecipe, log: BuildLog, certificates: Certificates
) -> EnvironmentBuildError:
    """Return the error of a build of *recipe* that failed: at which step, and why."""
    text = recipe.image.dockerfile_str

    def line_of(found: re.Match[str]) -> str:
        return f"{found[1]}{certificates.line_before(text, int(found[2]))}"

    problem = _SOLVING.sub("", _AT_STEP.sub("", log.problem))
    if log.step is None:
        problem = _LINE.sub(line_of, problem)
    if log.says_disk_is_full:
        problem = "the disk is full. Free some space, as by 'fal-core env prune'"
    elif log.says_program_is_foreign and recipe.platform != engine.platform:
        problem = engine.explain_platform(recipe.platform)
    where = f"{engine.name} says" if log.step is None else f"{log.step} failed"
    return EnvironmentBuildError(KIND, f"{where}: {problem}.", lines=log.last_lines)


_NAME = re.compile(r".+-working-container(?:-\d+)?")


@attrs.frozen
class Leftovers:
    """
    What a build may have left.

    Attributes:
        since: When the build began, in seconds since the epoch.

        images: The ids of the images that it stood on.

        label: The label of its layers.
    """

    engine: Engine
    since: float
    images: tuple[str, ...]
    label: str

    def remove(self) -> bool:
        """
        Remove the containers of the build, which has ended; return whether there are none.

        Podman gives them no mark. They are those of builds, made since the build began, of
        one of its images, while no other build runs; else they stay.
        """
        engine = self.engine
        if engine.name != "podman" or engine.place != "here":
            return True
        found = self._find()
        return not found or engine.ask("rm", "--force", *found).code == 0

    def _find(self) -> list[str]:
        if _builds_run():
            return []
        named = ("--all", "--quiet", "--no-trunc", f"--filter=label={self.label}")
        layers = self.engine.ask("images", *named).output.split()
        made = {*self.images, *(each.removeprefix("sha256:") for each in layers)}
        answer = self.engine.ask("ps", "--all", "--external", "--format=json")
        try:
            rows = json.loads(answer.output)
        except ValueError:
            return []
        return [
            row["Id"]
            for row in rows
            if row.get("State") == "storage"
            and row.get("Created", 0) >= int(self.since)
            and row.get("ImageID") in made
            and any(_NAME.fullmatch(name) for name in row.get("Names") or ())
        ]


#: What could not be removed yet, since that takes some room on the disk as well.
_waiting: list[Leftovers] = []


def remove_later(left: Leftovers) -> None:
    """Remove *left*, now or before the next build of this process."""
    _waiting.append(left)
    remove_waiting()


def remove_waiting() -> None:
    """Remove what builds before could not."""
    for left in _waiting[:]:
        if left.remove():
            _waiting.remove(left)


def _builds_run() -> bool:
    """Tell whether a build of Podman or Buildah runs on this machine."""
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/cmdline", "rb") as stream:
                words = stream.read().split(b"\0")
        except OSError:
            continue
        program = os.path.basename(words[0])
        if program in (b"podman", b"buildah") and {b"build", b"bud"} & set(words[1:]):
            return True
    return False
