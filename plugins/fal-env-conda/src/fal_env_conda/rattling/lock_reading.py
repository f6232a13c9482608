"""
Reading locks in rattler's format.

It runs in the process of rattler, and nothing else of this package is imported there.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any


def read_lock(
    path: Path,
    *,
    platform: str,
    virtual_packages: list[str],
    plain: Callable[[Any], dict[str, Any]],
) -> dict[str, Any]:
    """
    Return the packages of the lock *path* for a machine of these virtual packages.

    Arguments:
        plain: Returns what is told of a record.

    Raises:
        ValueError: There are none; the message says why.
    """
    import rattler

    lock = rattler.LockFile.from_path(path)
    environment = lock.environment("default")
    if environment is None:
        names = ", ".join(name for name, _ in lock.environments())
        raise ValueError(f"The lock has no environment 'default', but {names}.")
    there = environment.platforms()
    unmet = ""
    for each in (each for each in there if str(each.subdir) == platform):
        found = environment.conda_repodata_records_for_platform(each) or []
        records = [plain(record) for record in found]
        missing = _unmet(records, virtual_packages)
        if missing:
            unmet = unmet or missing
            continue
        files = environment.pypi_packages_for_platform(each) or []
        return {
            "records": records,
            "channels": [str(channel) for channel in environment.channels()],
            "files": [_plain_file(file) for file in files],
        }
    if unmet:
        raise ValueError(unmet)
    names = ", ".join(each.name for each in there)
    raise ValueError(f"The lock has no packages for {platform}, but for {names}.")


def _plain_file(file: Any) -> dict[str, str]:
    return {
        "name": file.name,
        "version": file.version,
        "location": file.location,
        "sha256": _digest(file),
    }


def _unmet(records: list[dict[str, Any]], virtual_packages: list[str]) -> str:
    """Return what the machine lacks of that which the packages of a lock need."""
    import rattler

    known = {}
    for text in virtual_packages:
        name, version, build = text.split("=")
        build_string = rattler.BuildString(build)
        known[name] = rattler.PackageRecord(name, version, build_string, 0, "noarch")
    for record in records:
        for need in record["record"].get("depends", ()):
            name = need.partition(" ")[0]
            if not name.startswith("__"):
                continue
            if name not in known or not rattler.MatchSpec(need).matches(known[name]):
                variable = f"CONDA_OVERRIDE_{name.strip('_').upper()}"
                return (
                    f"Package {record['record']['name']} of the lock needs {need}, and the "
                    f"machine has {known.get(name, 'no such thing')}. Lock the environment for "
                    f"this machine type, or say with the variable {variable} what it has."
                )
    return ""


def _digest(file: Any) -> str:
    try:
        found: bytes | None = file.hashes.sha256
    except AttributeError:
        return ""  # It has no hashes at all.
    return found.hex() if found else ""
