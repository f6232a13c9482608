"""Builds: an environment is built in a temporary directory, marked as complete, and renamed."""

from __future__ import annotations

import time
from collections.abc import Iterable
from threading import Event

from fal_core.environments import LocalInterpreter
from fal_core.errors import EnvironmentBuildError, OptionError
from fal_core.events import LogSink
from fal_core.facts import with_facts
from fal_core.stores import command_lines
from fal_env_virtualenv.building.build_directories import BuildDirectory, open_directory
from fal_env_virtualenv.building.recipes import VenvRecipe, platform_name
from fal_env_virtualenv.store.environments import (
    KIND,
    STORE,
    BuildRecord,
    find_built,
    find_fault,
    find_record,
    forced,
    read_record,
    write_record,
)
from fal_uv.installing.indexes import Choices, Indexes, find_indexes
from fal_uv.installing.installers import BuildLog, Installer
from fal_uv.installing.interpreters import find_python
from fal_uv.installing.pins import DIST_INFO
from fal_uv.installing.targets import Target
from fal_uv.requirements import url_credentials
from fal_uv.requirements.pythons import Python


def build(
    recipe: VenvRecipe, key: str, sink: LogSink, cancelled: Event, *, force: bool
) -> LocalInterpreter:
    """
    Build *recipe*, whose key is *key*, unless another thread or process does so meanwhile.

    Arguments:
        force: Whether to resolve anew, if this process has not done so for *key* yet.

    Raises:
        EnvironmentBuildError: It cannot be built.

        Cancelled: *cancelled* was set.
    """
    log = BuildLog(sink)
    # What the key leaves out.
    terms = (recipe.packages.layers, recipe.packages.indexes().terms(), force)
    with STORE.building(key, log=log.sink, cancelled=cancelled, terms=terms):
        found = find_built(key, force=force)
        if found is None:
            record = None if force else read_record(key)
            if record is None:
                _build_anew(recipe, key, log, cancelled, force=force)
            else:
                why = find_fault(record) or "it was being removed"
                log.write(f"The environment must be built again: {why}.")
                indexes = recipe.packages.indexes().with_default(STORE.root)
                _build_from_pins(record, indexes, log, cancelled)
            found = find_built(key, force=force)
    if found is None:
        raise EnvironmentBuildError(
            KIND,
            "It was removed as soon as it was built. Another program cleans the cache.",
        )
    return found


def rebuild(prefix: str, sink: LogSink, cancelled: Event) -> BuildRecord:
    """
    Build the environment whose key begins with *prefix* again, and return its build record.

    It is built from its pins, so the record stays the same.

    Raises:
        OptionError: There is no such environment, or it is in use.

        EnvironmentBuildError: It cannot be built.

        Cancelled: *cancelled* was set.
    """
    record = find_record(prefix)
    if STORE.is_in_use(record.digest, command_lines()):
        raise OptionError(
            f"The environment {record.key[:12]} is in use. End the processes that use it first."
        )
    log = BuildLog(sink)
    indexes = indexes_of(record)
    terms = ("again", indexes.terms())
    with STORE.building(record.key, log=log.sink, cancelled=cancelled, terms=terms):
        _build_from_pins(record, indexes, log, cancelled)
    return record


def indexes_of(record: BuildRecord) -> Indexes:
    """Return the indexes from which the environment of *record* is built again."""
    choices = Choices(torch_backend=record.torch_backend)
    return find_indexes(
        record.extra_index_urls, default=record.index_url, choices=choices
    ).with_default(STORE.root)


def _build_anew(
    recipe: VenvRecipe, key: str, log: BuildLog, cancelled: Event, *, force: bool
) -> None:
    """Resolve and build *recipe*, and write its build record."""
    indexes = recipe.packages.indexes().with_default(STORE.root)
    python = find_python(recipe.python_version, STORE.root)
    entries = ", ".join(entry.text for entry in recipe.packages.requirements())
    what = f"with {entries}" if entries else "without requirements"
    log.write(f"Building a virtual environment of Python {python.version} {what}")
    with open_directory(key, python, cancelled) as directory:
        installer = _installer(directory, indexes, log)
        for layer in recipe.packages.parsed_layers():
            installer.install(
                layer,
                constraints_file=recipe.packages.constraints_file,
                compile_bytecode=recipe.compile_bytecode,
                refresh=force,
            )
        record = _record(recipe, key, python, installer)
        write_record(record)
        directory.finish(record)
    if force:
        forced.add(key)


def _installer(directory: BuildDirectory, indexes: Indexes, log: BuildLog) -> Installer:
    link = directory.link
    return Installer(
        kind=KIND,
        target=Target.of_python(directory.linked_executable, directory.library),
        workspace=directory.build.workspace,
        indexes=indexes,
        log=log,
        cancelled=directory.build.cancelled,
        inherited=() if link is None else (link.lock,),
    )


def _record(recipe: VenvRecipe, key: str, python: Python, installer: Installer) -> BuildRecord:
    """Return the build record of *recipe*, whose requirements have been installed."""

    def stripped(texts: Iterable[str]) -> tuple[str, ...]:
        return tuple(url_credentials.strip(text) for text in texts)

    asked = recipe.packages
    return BuildRecord(
        key=key,
        requirements=tuple(stripped(layer) for layer in asked.layers),
        index_url=asked.index_url and url_credentials.strip(asked.index_url),
        extra_index_urls=stripped(asked.extra_index_urls),
        torch_backend=asked.torch_backend,
        project=None if asked.project is None else asked.project.path,
        lock=installer.lock or None,
        python=python,
        platform=platform_name(),
        pins=installer.hashed_pins(),
        packages=installer.packages(),
        created=time.time(),
        compile_bytecode=recipe.compile_bytecode,
    )


def _build_from_pins(
    record: BuildRecord, indexes: Indexes, log: BuildLog, cancelled: Event
) -> None:
    """Build the environment of *record* from its pins."""
    with open_directory(record.key, record.python, cancelled) as directory:
        installer = _installer(directory, indexes, log)
        try:
            if record.pins or record.lock:
                installer.install_pins(
                    record.pins,
                    lock=record.lock or "",
                    compile_bytecode=record.compile_bytecode,
                )
        except EnvironmentBuildError as error:
            raise with_facts(
                error,
                reason=f"{error.reason} The versions are those that were resolved first; "
                "force=True resolves anew.",
            ) from error
        missing = set(record.packages) - set(installer.packages())
        if missing:
            name = min(missing).removesuffix(DIST_INFO)
            raise EnvironmentBuildError(KIND, f"Installing its pins did not install {name}.")
        directory.finish(record)
