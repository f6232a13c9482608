"""
Virtual packages: what conda's packages may ask of the machine that runs them.

Detection takes the start of a process, so its answer is kept until the machine starts
again, or something that it depends on changes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

from fal_core.caches import cache_directory, write_atomically
from fal_core.errors import EnvironmentBuildError
from fal_core.machines import Machine
from fal_env_conda.rattling.processes import Rattler, RattlerError

_OVERRIDES = "CONDA_OVERRIDE_"
_found: dict[str, tuple[str, ...]] = {}


def virtual_packages(machine: Machine | None) -> tuple[str, ...]:
    """
    Return the virtual packages of *machine*, as in ``__glibc=2.36=0``.

    What a machine type does not state is that of the machine this runs on; None stands for
    that machine. The variables ``CONDA_OVERRIDE_…`` have the last word.

    Raises:
        EnvironmentBuildError: It cannot be found out.
    """
    found = dict(_split(_detected()))
    if machine is None:
        return tuple(sorted(f"{name}={rest}" for name, rest in found.items()))
    if not machine.gpus:
        for name in ("__cuda", "__cuda_arch"):
            if not _is_overridden(name):
                found.pop(name, None)
    capability = getattr(machine, "compute_capability", None)
    if capability and "__cuda" in found and not _is_overridden("__cuda_arch"):
        found["__cuda_arch"] = f"{capability}=0"
    return tuple(sorted(f"{name}={rest}" for name, rest in found.items()))


def _is_overridden(name: str) -> bool:
    return f"{_OVERRIDES}{name.strip('_').upper()}" in os.environ


def _split(packages: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for package in packages:
        name, _, rest = package.partition("=")
        yield name, rest


def _detected() -> tuple[str, ...]:
    stamp = _stamp()
    found = _found.get(stamp)
    if found is None:
        found = _read(stamp)
        if found is None:
            found = _detect()
            _keep(stamp, found)
        _found[stamp] = found
    return found


def _detect() -> tuple[str, ...]:
    with Rattler() as rattler:
        try:
            return tuple(rattler.ask("detect"))
        except RattlerError as error:
            raise EnvironmentBuildError(
                "conda",
                f"rattler does not tell what this machine has: {error.message}. Look at the "
                f"variables {_OVERRIDES}…, or run 'fal-core doctor'.",
            ) from error


def _stamp() -> str:
    """Return what changes whenever the answer of a detection may."""
    overrides = sorted(each for each in os.environ.items() if each[0].startswith(_OVERRIDES))
    system = os.uname()
    starts = _text("/proc/sys/kernel/random/boot_id")
    driver = _text("/proc/driver/nvidia/version")
    library = os.environ.get("LD_LIBRARY_PATH", "")
    parts = (overrides, system.release, system.version, system.machine, starts, driver, library)
    return repr(parts)


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read()
    except OSError:
        return ""


def _read(stamp: str) -> tuple[str, ...] | None:
    try:
        with open(
            os.path.join(cache_directory("conda"), "machine.json"), encoding="utf-8"
        ) as stream:
            loaded = json.load(stream)
        return tuple(loaded["packages"]) if loaded["stamp"] == stamp else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _keep(stamp: str, packages: tuple[str, ...]) -> None:
    text = json.dumps({"stamp": stamp, "packages": packages}, indent=1)
    try:
        folder = cache_directory("conda", make=True)
        write_atomically(os.path.join(folder, "machine.json"), text, durable=False)
    except OSError:
        pass  # It is detected again.
