"""
Packages on top of an image: a folder that uv fills, which containers see and only read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from threading import Event
from typing import TYPE_CHECKING

from fal_core.digests import digest
from fal_core.environments import canonical_name
from fal_core.errors import EnvironmentBuildError
from fal_core.events import LogSink
from fal_core.stores import DirectoryStore
from fal_env_container.engines import KIND, Engine
from fal_env_container.images.built_images import BuiltImage
from fal_env_container.running.pythons import ImagePython, known_python

if TYPE_CHECKING:
    from fal_core.stores import Build
    from fal_uv.requirements.entries import Requirement

STORE = DirectoryStore(folder="container-packages", kind=KIND)

#: The directory of an entry that containers see.
_LIBRARY = "packages"


def fingerprint(layers: Sequence[Sequence[str]]) -> tuple[object, ...]:
    """
    Return a value that changes with what *layers* of requirements may install.
    """
    from fal_uv.installing.indexes import find_indexes
    from fal_uv.requirements import local_sources, url_credentials

    parsed = [entry for layer in _parse(layers) for entry in layer]
    local = local_sources.local_requirements(parsed)
    return (
        [[url_credentials.strip(text) for text in layer] for layer in layers],
        [local_sources.digest(each) for each in local],
        find_indexes().fingerprint(),
    )


def stamps(layers: Sequence[Sequence[str]]) -> tuple[object, ...]:
    """
    Return a value that changes with the local files that *layers* name.
    """
    from fal_uv.requirements import local_sources

    parsed = [entry for layer in _parse(layers) for entry in layer]
    return tuple(local_sources.stamps(local_sources.local_requirements(parsed)))


def key_of(image: BuiltImage, python: ImagePython, layers: Sequence[Sequence[str]]) -> str:
    """
    Return the key of the folder of *layers* on top of *image*.
    """
    abi = (python.version.rpartition(".")[0], python.abi, python.machine, python.libc)
    return digest(repr((KIND, image.id, abi, fingerprint(layers))).encode())


def are_installed(image: BuiltImage, layers: Sequence[Sequence[str]]) -> bool:
    """
    Tell whether the folder of *layers* on top of *image* is there.
    """
    python = known_python(image)
    return python is not None and STORE.find_fault(key_of(image, python, layers)) is None


def find_or_install(
    engine: Engine,
    image: BuiltImage,
    python: ImagePython,
    layers: Sequence[Sequence[str]],
    log: LogSink,
    cancelled: Event,
) -> str:
    """
    Return the folder with *layers* of requirements, which uv fills if it is not there.

    Raises:
        EnvironmentBuildError: They cannot be installed, or no container could see them.

        Cancelled: *cancelled* was set.
    """
    if engine.place == "elsewhere":
        raise EnvironmentBuildError(
            KIND,
            f"requirements go into a folder of this machine, which {engine.name} on another "
            "machine does not see. Install them in the image.",
        )
    key = key_of(image, python, layers)

    def build(opened: Build) -> None:
        _install(opened, python, layers, log, cancelled)

    summary = ", ".join(entry for layer in layers for entry in layer)
    entry = STORE.find_or_build(
        key, build, log=log, cancelled=cancelled, summary=f"{summary} for {image.name}"
    )
    return os.path.join(entry, _LIBRARY)


def _install(
    opened: Build,
    python: ImagePython,
    layers: Sequence[Sequence[str]],
    log: LogSink,
    cancelled: Event,
) -> None:
    """
    Install *layers*, one after the other, without what the image has already.
    """
    from fal_uv.installing.indexes import find_indexes
    from fal_uv.installing.installers import BuildLog, Installer
    from fal_uv.installing.targets import Target, linux_platform

    folder = os.path.join(opened.directory, _LIBRARY)
    os.mkdir(folder)
    installer = Installer(
        kind=KIND,
        target=Target.of_folder(
            folder,
            python_version=python.version,
            platform=linux_platform(python.machine, glibc=python.glibc),
        ),
        workspace=opened.workspace,
        indexes=find_indexes().with_default(STORE.root),
        log=BuildLog(log),
        cancelled=cancelled,
    )
    for layer in _parse(layers):
        named = {canonical_name(each.name) for each in layer if each.name}
        there = [name for name in python.installed if canonical_name(name) not in named]
        installer.install(layer, excludes=there)


def _parse(layers: Sequence[Sequence[str]]) -> Iterator[list[Requirement]]:
    from fal_uv.requirements.entries import parse_entry

    yield from ([parse_entry(entry) for entry in layer] for layer in layers)
