"""Pulls: images that an engine takes from registries, each of which has to answer in time."""

from __future__ import annotations

import re
import time
from threading import Event

from fal_core.errors import Cancelled, EnvironmentBuildError
from fal_core.reprs import show_size
from fal_env_container.building import inventory
from fal_env_container.building.processes import CommandRunner, run
from fal_env_container.engines import KIND, Engine
from fal_env_container.images.built_images import BuiltImage

#: Seconds within which a registry has to answer, until it begins to send the image.
ANSWERS_WITHIN = 60.0

#: What engines print once a registry sends the image.
_BEGUN = re.compile(r"Getting image source signatures|Copying |Pulling from|Pulling fs layer")

#: What Podman says of a name that has no registry and is none of the short ones it knows.
_WITHOUT_REGISTRY = "did not resolve to an alias and no unqualified-search registries"

#: The first Podman that can be told not to try again, while the call looks as if it hung.
_TRIES_AGAIN = 5


def pull(runner: CommandRunner, name: str, platform: str | None) -> BuiltImage:
    """
    Pull the image *name*, and return it.

    Arguments:
        platform: As in ``linux/arm64``. None for that of the engine.

    Raises:
        EnvironmentBuildError: There is no such image, or it cannot be had.

        Cancelled: Nobody waits for it any more.
    """
    engine, log = runner.engine, runner.log
    log.write(f"Pulling the image {name}")
    problem: str | None = None
    patience = _Patience(runner.cancelled)
    try:
        code = _run(runner, patience, *_arguments(engine, platform), name)
    except Cancelled:
        if not patience.is_over:
            raise
        code = 1
        problem = f"the registry has not answered within {ANSWERS_WITHIN:g} s"
    found = inventory.find_new_image(engine, name) if code == 0 else None
    if found is None:
        if _WITHOUT_REGISTRY in log.problem:
            problem = (
                "it asks no registry for a name without one. Correct the name, or write its "
                f"registry too, as in {_with_registry(name)!r}"
            )
        of_platform = "" if platform is None else f" for {platform}"
        raise EnvironmentBuildError(
            KIND,
            f"There is no image {name!r}{of_platform} here, and {engine.name} cannot pull it: "
            f"{problem or log.problem}.",
            lines=log.last_lines,
            unsaid=(),
        )
    size = f", {show_size(found.size)}" if found.size else ""
    log.write(f"Pulled the image {name}{size}")
    return found


def _with_registry(name: str) -> str:
    return f"docker.io/{name if '/' in name else f'library/{name}'}"


def _arguments(engine: Engine, platform: str | None) -> list[str]:
    arguments = ["pull"] if platform is None else ["pull", "--platform", platform]
    major_version = engine.version.partition(".")[0]
    if engine.name == "podman" and major_version.isdigit():
        arguments += ["--retry=0"] if int(major_version) >= _TRIES_AGAIN else []
    return arguments


def _run(runner: CommandRunner, patience: _Patience, *arguments: str) -> int:
    def hear(line: str) -> None:
        patience.hear(line)
        runner.log.write(line)

    runner.log.begin()
    return run(
        runner.engine,
        *arguments,
        place=runner.place,
        on_line=hear,
        cancelled=patience,
        variables=runner.variables,
    )


class _Patience(Event):
    """
    An event that is set once *cancelled* is, or once a registry has not answered in time.

    Attributes:
        is_over: Whether the latter is so.
    """

    def __init__(self, cancelled: Event) -> None:
        super().__init__()
        self.is_over = False
        self._cancelled = cancelled
        self._has_begun = False
        self._heard = time.monotonic()

    def hear(self, line: str) -> None:
        """Take a line of the engine, which may ask one registry after the other."""
        self._heard = time.monotonic()
        self._has_begun = self._has_begun or _BEGUN.search(line) is not None

    def is_set(self) -> bool:
        if self._cancelled.is_set():
            return True
        if not self._has_begun and time.monotonic() - self._heard > ANSWERS_WITHIN:
            self.is_over = True
        return self.is_over
