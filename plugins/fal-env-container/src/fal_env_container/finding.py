"""
Finding an engine: the one that is configured, or the first that answers.

What it says of itself takes a tenth of a second, and is kept in the cache for a while.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping
from typing import Any, get_args

import attrs

from fal_core.caches import ForeignCache, cache_directory, remove_quietly, write_atomically
from fal_core.digests import digest
from fal_core.errors import EnvironmentBuildError
from fal_env_container.engines import ENGINE_VARIABLE, KIND, Engine, EngineName, ask

_NAMES: tuple[EngineName, ...] = get_args(EngineName)

#: Seconds that a description is believed.
_KEPT = 24 * 3600.0

#: Variables that lead to another engine or to other settings of one.
_LEADING = ("CONTAINER", "DOCKER_", "BUILDAH_", "NERDCTL_", "XDG_RUNTIME_DIR")

_found: dict[tuple[object, ...], Engine] = {}


def find_engine() -> Engine:
    """
    Return the engine that ``FAL_CORE_CONTAINER_ENGINE`` names, or the first that answers.

    Raises:
        EnvironmentBuildError: There is none, or none answers.
    """
    chosen = os.environ.get(ENGINE_VARIABLE, "")
    identity = (chosen, os.environ.get("PATH"), *_leading_variables())
    known = _found.get(identity)
    if known is None:
        known = _found[identity] = _find(chosen)
    return known


def find_engine_if_any() -> Engine | None:
    """Return the engine, or None without one that answers: it is said where one is needed."""
    try:
        return find_engine()
    except EnvironmentBuildError:
        return None


def forget(*, described: bool = False) -> None:
    """
    Look for the engine anew when it is needed next.

    Arguments:
        described: Whether to ask it anew what it is, too.
    """
    _found.clear()
    if described:
        try:
            folder = os.path.join(cache_directory("containers"), "engines")
            for name in os.listdir(folder):
                remove_quietly(os.path.join(folder, name))
        except (OSError, ForeignCache):
            pass  # Nothing is kept there.


def _find(chosen: str) -> Engine:
    problems = []
    for name in (chosen,) if chosen else _NAMES:
        program = shutil.which(name)
        if program is not None:
            # It may be started in another directory.
            found = _describe(os.path.abspath(program))
            if isinstance(found, Engine):
                return found
            problems.append(found)
    if problems:
        raise EnvironmentBuildError(KIND, " ".join(problems))
    if chosen:
        raise EnvironmentBuildError(
            KIND, f"{ENGINE_VARIABLE} names {chosen!r}, and there is no such program."
        )
    raise EnvironmentBuildError(
        KIND, "no container engine is installed. Install Podman or Docker."
    )


def _describe(program: str) -> Engine | str:
    """Return the engine *program* as it described itself lately, or does now."""
    path = record_path(program)
    known = None if path is None else _read(path)
    if known is not None:
        return known
    found = describe(program)
    if not isinstance(found, Engine):
        return found
    found = attrs.evolve(found, settings=digest(repr(_leading_variables()).encode()))
    if path is not None:
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            write_atomically(path, json.dumps(attrs.asdict(found)), durable=False)
        except OSError:
            pass  # It is asked again.
    return found


def record_path(program: str) -> str | None:
    """Return where what *program* says of itself is kept. None where nothing can be kept."""
    try:
        status = os.stat(program)
        folder = cache_directory("containers")
    except (OSError, ForeignCache):
        return None
    identity = (program, status.st_size, status.st_mtime_ns, os.geteuid())
    text = repr((identity, _leading_variables()))
    return os.path.join(folder, "engines", f"{digest(text.encode())}.json")


def _read(path: str) -> Engine | None:
    try:
        if is_old(path):
            return None
        with open(path, encoding="utf-8") as stream:
            return Engine(**json.load(stream))
    except (OSError, ValueError, TypeError):
        return None


def is_old(path: str) -> bool:
    """
    Tell whether what is kept at *path* is believed no more.

    Raises:
        OSError: There is nothing.
    """
    return time.time() - os.stat(path).st_mtime > _KEPT


def _leading_variables() -> tuple[tuple[str, str], ...]:
    return tuple(sorted(each for each in os.environ.items() if each[0].startswith(_LEADING)))


# -- what engines say of themselves ------------------------------------------------


def describe(program: str) -> Engine | str:
    """Return the engine *program* as it describes itself, or why it does not, as a sentence."""
    name = engine_name(program)
    try:
        answer = ask([program, "info", "--format", "{{json .}}"])
    except EnvironmentBuildError as error:
        return error.reason
    try:
        content = json.loads(answer.output)
    except ValueError:
        content = None
    if answer.code != 0 or not isinstance(content, dict) or content.get("ServerErrors"):
        errors = (content.get("ServerErrors") if isinstance(content, dict) else None) or ()
        reason = str(errors[0]).rstrip(".") if errors else answer.problem
        end = "" if reason.endswith(("?", "!")) else "."
        return f"{name} is installed, but not running: {reason}{end}"
    # Podman may be installed as docker.
    read = _podman if name == "podman" or "host" in content else _docker
    try:
        return read(program, content)
    except (KeyError, TypeError) as error:
        return f"{program} does not describe itself as {name} does: it has no {error}."


def engine_name(program: str) -> EngineName:
    """Return which command line *program* has, by its name."""
    for path in (os.path.realpath(program), program):
        for name in _NAMES:
            if name in os.path.basename(path):
                return name
    return "docker"


def _podman(program: str, content: Mapping[str, Any]) -> Engine:
    host = content["host"]
    elsewhere = bool(host.get("serviceIsRemote"))
    return Engine(
        name="podman",
        program=program,
        version=str(content["version"]["Version"]),
        place="elsewhere" if elsewhere else "here",
        platform=f"{host['os']}/{host['arch']}",
        is_rootless=bool(host["security"]["rootless"]),
        passes_descriptors=not elsewhere,
        takes_devices=True,
    )


def _docker(program: str, content: Mapping[str, Any]) -> Engine:
    architecture = content["Architecture"]
    return Engine(
        name=engine_name(program),
        program=program,
        version=str(content.get("ServerVersion") or ""),
        # The daemon of a virtual machine or of another one has another kernel or name.
        place="here" if _is_here(content) else "elsewhere",
        platform=f"{content['OSType']}/{ARCHITECTURES.get(architecture, architecture)}",
        is_rootless=any("rootless" in each for each in content.get("SecurityOptions") or ()),
        takes_devices=bool(content.get("CDISpecDirs")),
    )


def _is_here(content: Mapping[str, Any]) -> bool:
    here = os.uname()
    return (content.get("Name"), content.get("KernelVersion")) == (here.nodename, here.release)


#: Go's names of architectures, by the kernel's.
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}
