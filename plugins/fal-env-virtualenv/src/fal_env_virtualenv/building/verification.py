"""Verification: a thorough look at whether an environment is whole and starts."""

from __future__ import annotations

import os
from collections.abc import Iterator

from fal_env_virtualenv.store.environments import BuildRecord, find_fault, find_record
from fal_uv.running.uv import ask, uv_command

#: How many missing files are named.
_MOST = 10


def verify(key: str) -> list[str]:
    """
    Return what is wrong with the environment of *key*, as sentences; empty if nothing is.

    It looks for each installed file, starts the interpreter, and has uv check that the
    packages are compatible.

    Raises:
        OptionError: There is no such environment.

        EnvironmentBuildError: uv is not installed.
    """
    record = find_record(key)
    fault = find_fault(record)
    if fault is not None:
        return [f"The environment is damaged: {fault}."]
    problems = [f"The file {name} is gone." for name in _missing_files(record)]
    code, output = ask([record.executable, "-c", "import sys; print(sys.prefix)"])
    if code != 0 or os.path.realpath(output.strip()) != os.path.realpath(record.path):
        problems.append("Its interpreter does not start in it.")
        return problems
    code, output = ask(
        [*uv_command(), "pip", "check", "--python", record.executable], errors=True
    )
    if code != 0:
        conflicts = [line.strip() for line in output.splitlines() if " requires " in line]
        problems += conflicts or [f"uv pip check ended with code {code}."]
    return problems


def _missing_files(record: BuildRecord) -> Iterator[str]:
    """Yield the first files that packages list and that do not exist."""
    library = os.path.join(record.path, record.python.library)
    missing = 0
    for package in record.packages:
        try:
            with open(os.path.join(library, package, "RECORD"), encoding="utf-8") as stream:
                names = [line.rsplit(",", 2)[0].strip('"') for line in stream]
        except FileNotFoundError:
            names = [os.path.join(package, "RECORD")]
        for name in names:
            if not name.endswith(".pyc") and not os.path.exists(os.path.join(library, name)):
                missing += 1
                if missing <= _MOST:
                    yield name
