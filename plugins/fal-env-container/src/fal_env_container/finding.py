"""
Finding an engine: the one that is configured, or the first that answers.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
from collections.abc import Callable, Mapping
from typing import Any, get_args

from fal_core.errors import EnvironmentBuildError
from fal_env_container.engines import ENGINE_VARIABLE, Engine, EngineName, ask

#: The oldest Podman that passes descriptors to a container with a terminal or without.
_NAMES: tuple[EngineName, ...] = get_args(EngineName)


def find_engine() -> Engine:
    """
    Return the engine that ``FAL_CORE_CONTAINER_ENGINE`` names, or the first that answers.

    Raises:
        EnvironmentBuildError: There is none, or none answers.
    """
    return _find(os.environ.get(ENGINE_VARIABLE, ""))


@functools.cache
def _find(chosen: str) -> Engine:
    names = (chosen,) if chosen else _NAMES
    problems = []
    for name in names:
        program = shutil.which(name)
        if program is not None:
            found = describe(program)
            if isinstance(found, Engine):
                return found
            problems.append(found)
    if problems:
        raise EnvironmentBuildError("container", " ".join(problems))
    if chosen:
        raise EnvironmentBuildError(
            "container", f"{ENGINE_VARIABLE} names {chosen!r}, and there is no such program."
        )
    raise EnvironmentBuildError(
        "container", "no container engine is installed. Install Podman or Docker."
    )


def describe(program: str) -> Engine | str:
    """
    Return the engine *program* as it describes itself, or why it does not, as a sentence.
    """
    answer = ask([program, "info", "--format", "{{json .}}"])
    name = engine_name(program)
    try:
        content = json.loads(answer.output)
    except ValueError:
        content = None
    if answer.code != 0 or not isinstance(content, dict) or content.get("ServerErrors"):
        reason = answer.problem or "it does not say why"
        return f"{program} is installed, but does not answer: {reason}."
    return _READERS[name](program, content)


def engine_name(program: str) -> EngineName:
    """
    Return which command line *program* has, by its name.
    """
    base = os.path.basename(os.path.realpath(program))
    for name in _NAMES:
        if name in base or name in os.path.basename(program):
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
    options = content.get("SecurityOptions") or ()
    return Engine(
        name=engine_name(program),
        program=program,
        version=str(content.get("ServerVersion") or ""),
        place="here" if content.get("Name") == os.uname().nodename else "elsewhere",
        platform=f"{content.get('OSType', 'linux')}/{_MACHINES.get(content['Architecture'])}",
        is_rootless=any("rootless" in each for each in options),
        takes_devices=bool(content.get("CDISpecDirs")),
    )


#: Go's names of architectures, by the kernel's.
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "riscv64": "riscv64", "s390x": "s390x"}

_READERS: dict[EngineName, Callable[[str, Mapping[str, Any]], Engine]] = {
    "podman": _podman,
    "docker": _docker,
    "nerdctl": _docker,
}
