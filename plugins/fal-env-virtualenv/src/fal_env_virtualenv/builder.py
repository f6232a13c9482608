"""
How an environment is built: in a temporary place, marked, and renamed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from threading import Event
from typing import TYPE_CHECKING

from fal_core.environments import LocalInterpreter
from fal_core.errors import EnvironmentBuildError
from fal_core.events import Level, Log, LogSink
from fal_core.facts import with_facts
from fal_env_virtualenv import credentials, failures, files, records
from fal_env_virtualenv.indexes import Indexes, find_indexes, platform_name
from fal_env_virtualenv.pythons import find_python
from fal_env_virtualenv.records import Record
from fal_env_virtualenv.requirements import parse
from fal_env_virtualenv.workplaces import DESCRIPTION, Workplace, sweep

if TYPE_CHECKING:
    from fal_env_virtualenv import Virtualenv

_WAITING = "Waiting for another build of this environment"


def build(
    environment: Virtualenv, key: str, log: LogSink, cancelled: Event
) -> LocalInterpreter:
    """
    Build *environment*, whose key is *key*, unless another does so meanwhile.

    Raises:
        EnvironmentBuildError: It cannot be built.

        Cancelled: *cancelled* was set.
    """
    say = _speaker(log)
    try:
        _make_directories()
        with files.locked(records.lock_path(key), cancelled, lambda: say(_WAITING)):
            found = records.find(key, force=environment.force)
            if found is None:
                sweep(key)
                _build_alone(environment, key, say, cancelled)
                found = records.find(key, force=environment.force)
    except OSError as error:
        raise EnvironmentBuildError(failures.KIND, files.describe_failure(error)) from error
    if found is None:
        raise EnvironmentBuildError(
            failures.KIND,
            "What was built vanished at once; something else removes files of the cache.",
        )
    return found


def rebuild(record: Record, log: LogSink, cancelled: Event) -> None:
    """
    Build what *record* describes once more, from its pins.

    Raises:
        EnvironmentBuildError: It cannot be built.

        Cancelled: *cancelled* was set.
    """
    say = _speaker(log)
    try:
        _make_directories()
        with files.locked(records.lock_path(record.key), cancelled, lambda: say(_WAITING)):
            sweep(record.key)
            _build_from_pins(record, _indexes(record.extra_index_urls), say, cancelled)
    except OSError as error:
        raise EnvironmentBuildError(failures.KIND, files.describe_failure(error)) from error


def _make_directories() -> None:
    for name in ("keys", "locks", "building", "trash"):
        os.makedirs(os.path.join(records.store_root(), name), exist_ok=True)


def _indexes(extra: Iterable[str]) -> Indexes:
    return find_indexes(extra).with_default(records.store_root())


def _speaker(log: LogSink) -> Callable[[str], None]:
    def say(line: str) -> None:
        level: Level = "WARNING" if line.startswith("warning:") else "INFO"
        log(Log(credentials.mask(line), level, "BUILDER", time.time()))

    return say


def _build_alone(
    environment: Virtualenv, key: str, say: Callable[[str], None], cancelled: Event
) -> None:
    """
    Build for *key*, whose lock is held, from its record or anew.
    """
    record = None if environment.force else records.read_record(key)
    indexes = _indexes(environment.extra_index_urls)
    if record is not None:
        why = records.fault(record) or "it was being removed"
        say(f"The environment must be built again: {why}.")
        _build_from_pins(record, indexes, say, cancelled)
        return
    python = find_python(environment.python_version, records.store_root())
    wanted = ", ".join(entry for layer in environment.layers for entry in layer)
    what = f"with {wanted}" if wanted else "without requirements"
    say(f"Building a virtual environment of Python {python.version} {what}")
    constraints = environment.constraints_file
    with Workplace.made(key, python, indexes, say, cancelled) as place:
        for layer in environment.layers:
            place.install(
                [parse(entry) for entry in layer],
                constraints=[] if constraints is None else [os.fspath(constraints)],
                compile_bytecode=environment.compile_bytecode,
                refresh=environment.force,
            )
        record = _record(environment, key, place)
        records.write_record(record)
        place.finish(record)
    if environment.force:
        records.forced.add(key)


def _record(environment: Virtualenv, key: str, place: Workplace) -> Record:
    """
    Return what is kept of the environment that was built in *place*.
    """

    def told(entries: Iterable[str]) -> tuple[str, ...]:
        return tuple(credentials.without(entry) for entry in entries)

    return Record(
        key=key,
        requirements=tuple(told(layer) for layer in environment.layers),
        extra_index_urls=told(environment.extra_index_urls),
        python=place.python,
        platform=platform_name(),
        pins=place.hashed_pins(),
        packages=place.packages(),
        created=time.time(),
        compile_bytecode=environment.compile_bytecode,
    )


def _build_from_pins(
    record: Record, indexes: Indexes, say: Callable[[str], None], cancelled: Event
) -> None:
    with Workplace.made(record.key, record.python, indexes, say, cancelled) as place:
        try:
            if record.pins:
                place.install_pins(record)
        except EnvironmentBuildError as error:
            raise with_facts(
                error,
                reason=f"{error.reason} It was to be as it was first resolved; "
                "force=True resolves anew.",
            ) from error
        missing = set(record.packages) - set(place.packages())
        if missing:
            raise EnvironmentBuildError(
                failures.KIND,
                f"Its pins did not bring {min(missing).removesuffix(DESCRIPTION)}.",
            )
        place.finish(record)
