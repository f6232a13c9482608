"""Packages on top of an image: a folder that uv fills, which containers see and only read."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import distributions
from threading import Event
from typing import TYPE_CHECKING

import attrs

from fal_core.digests import digest
from fal_core.errors import EnvironmentBuildError
from fal_core.events import LogSink
from fal_core.facts import with_facts
from fal_core.options import canonical_name
from fal_core.reprs import show_fields
from fal_env_container.engines import KIND, Engine
from fal_env_container.images.built_images import BuiltImage
from fal_env_container.running.package_stores import STORE, PackageLock
from fal_env_container.running.pythons import ImagePython

if TYPE_CHECKING:
    from packaging.requirements import Requirement as Specifier

    from fal_core.stores import Build
    from fal_uv.installing.installers import Installer
    from fal_uv.installing.package_requests import PackageRequest
    from fal_uv.requirements.entries import Requirement

#: The directories of an entry that containers see.
_LIBRARY = "packages"
_COMPILED = "compiled"

#: Changes where other packages are installed for the same request.
_FORMAT = 2

#: The keys that this process has resolved because of the option ``force``.
_forced: set[str] = set()


@attrs.frozen(kw_only=True)
class Packages:
    """
    Packages on top of an image.

    Attributes:
        python: The Python of the image.

        asked: Which they are; each layer is installed after the one before it.

        builds: Whether what has no wheel is built, which runs code of it on this machine.
    """

    __repr__ = show_fields

    image: BuiltImage
    python: ImagePython
    asked: PackageRequest
    builds: bool = True

    @property
    def key(self) -> str:
        """A digest of what is asked for, before anything is resolved."""
        return digest(repr((*self._place, self.asked.fingerprint())).encode())

    def name_of(self, pins: Sequence[str], lock: str = "") -> str:
        """Return the name of the folder with *pins*, and with what the text *lock* has."""
        # Pins name the local files that they come from, not what these contain, and versions
        # without hashes are what their index says they are.
        is_whole = not lock and all(" --hash=" in pin for pin in pins)
        origin = () if is_whole else self.asked.origin()
        locked = (lock,) if lock else ()
        return digest(repr((*self._place, sorted(pins), origin, *locked)).encode())

    @property
    def _place(self) -> tuple[object, ...]:
        python = self.python
        minor_version = python.version.rpartition(".")[0]
        where = (self.image.id, minor_version, python.abi, python.machine, python.libc)
        return (KIND, _FORMAT, *where)

    def may_pin(self, pins: Sequence[str]) -> bool:
        """
        Tell whether *pins* may be installed as they are: what is not built comes from
        strangers, and a package of theirs may claim to come from any file of this machine.
        """
        from fal_uv.installing.pins import is_version

        return self.builds or all(is_version(pin.partition(" --hash=")[0]) for pin in pins)

    @property
    def summary(self) -> str:
        """What is in the folder, for lists."""
        entries = ", ".join(entry.text for entry in self.asked.requirements())
        return f"{entries} for {self.image.name}"


def find_or_install(
    engine: Engine,
    packages: Packages,
    log: LogSink,
    cancelled: Event,
    *,
    force: bool = False,
) -> str:
    """
    Return the folder with *packages*, which uv fills if it is not there.

    Arguments:
        force: Whether to resolve anew, if this process has not done so yet.

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
    key = packages.key
    entry = _find(key, force=force)
    if entry is None:
        asked = packages.asked
        # What the key leaves out.
        terms = (asked.layers, packages.builds, asked.indexes().terms(), force)
        with STORE.building(key, log=log, cancelled=cancelled, terms=terms):
            entry = _find(key, force=force)
            if entry is None:
                entry = _install(key, packages, log, cancelled, force=force)
    return os.path.join(entry, _LIBRARY)


def compiled_folder(folder: str, tenant: str) -> str:
    """
    Return the folder of *tenant* for compiled modules of the packages in *folder*, which goes
    with them.

    Each container would otherwise compile what it imports of them: they are only read.
    """
    whose = digest(tenant.encode()) if tenant else "own"
    compiled = os.path.join(os.path.dirname(folder), _COMPILED, whose)
    os.makedirs(compiled, exist_ok=True)
    return compiled


def is_installed(packages: Packages, *, force: bool = False) -> bool:
    """Tell whether :func:`find_or_install` would find *packages*."""
    key = packages.key
    lock = None if force and key not in _forced else STORE.read_lock(key)
    return lock is not None and STORE.find_fault(lock.name) is None


def _find(key: str, *, force: bool) -> str | None:
    lock = None if force and key not in _forced else STORE.read_lock(key)
    return None if lock is None else STORE.find(lock.name)


def _install(
    key: str, packages: Packages, log: LogSink, cancelled: Event, *, force: bool
) -> str:
    """
    Install *packages*, as they were resolved before if they were, and return their entry.

    The caller holds the lock of *key*.
    """
    with STORE.open_build(key, cancelled=cancelled) as opened:
        opened.summary = packages.summary
        installer = _installer(opened, packages, log)
        lock = None if force else STORE.read_lock(key)
        if lock is not None and packages.may_pin(lock.pins):
            _install_pins(installer, lock)
        else:
            _resolve(installer, packages, refresh=force)
            pins, text = installer.hashed_pins(), installer.lock
            lock = PackageLock(name=packages.name_of(pins, text), pins=pins, lock=text)
        # Others may have asked for it in other words.
        with STORE.building(lock.name, log=log, cancelled=cancelled):
            entry = STORE.find(lock.name)
            if entry is None:
                opened.finish(name=lock.name)
                entry = STORE.find(lock.name)
            STORE.write_lock(key, lock)
    if force:
        _forced.add(key)
    if entry is None:
        raise EnvironmentBuildError(
            KIND, "It was removed as soon as it was built. Another program cleans the cache."
        )
    return entry


def _install_pins(installer: Installer, lock: PackageLock) -> None:
    try:
        if lock.pins or lock.lock:
            installer.install_pins(lock.pins, lock=lock.lock)
    except EnvironmentBuildError as error:
        raise with_facts(
            error,
            reason=f"{error.reason} The versions are those that were resolved first; "
            "force=True resolves anew.",
        ) from error


def _installer(opened: Build, packages: Packages, log: LogSink) -> Installer:
    from fal_uv.installing.installers import BuildLog, Installer
    from fal_uv.installing.targets import Target, linux_platform

    python, folder = packages.python, os.path.join(opened.directory, _LIBRARY)
    os.mkdir(folder)
    return Installer(
        kind=KIND,
        target=Target.of_folder(
            folder,
            python_version=python.version,
            platform=linux_platform(python.machine, glibc=python.glibc),
        ),
        workspace=opened.workspace,
        indexes=packages.asked.indexes().with_default(STORE.root),
        log=BuildLog(log),
        cancelled=opened.cancelled,
        builds=packages.builds,
    )


def _resolve(installer: Installer, packages: Packages, *, refresh: bool) -> None:
    """
    Install the layers one after the other, without what the image has already: of that, what
    has a version which something that is added does not work with is installed too.
    """
    asked = packages.asked
    _check_python(packages.python.version, asked)
    kept = {canonical_name(name): name for name in packages.python.installed}
    while True:
        for layer in asked.parsed_layers():
            named = {canonical_name(each.name) for each in layer if each.name}
            there = [name for key, name in kept.items() if key not in named]
            installer.install(
                layer,
                constraints_file=asked.constraints_file,
                excludes=there,
                refresh=refresh,
            )
        misfits = find_misfits(installer.target.library, packages.python, asked.requirements())
        if not misfits & kept.keys():
            return
        for name in misfits & kept.keys():
            del kept[name]
        # What was chosen without them may not go with them.
        shutil.rmtree(installer.target.library)
        os.mkdir(installer.target.library)
        installer.log.write(
            f"Installing {', '.join(sorted(misfits))} too: the image has other versions than "
            "what is added needs"
        )


def _check_python(version: str, asked: PackageRequest) -> None:
    """Check that the files which *asked* names are written for the Python of the image."""
    from fal_uv.installing.request_checks import files_for_python
    from fal_uv.requirements.python_bounds import allows, are_valid, bounds_in

    for path, bounds in bounds_in(files_for_python(asked)):
        if are_valid(bounds) and not allows([bounds], version):
            raise EnvironmentBuildError(
                KIND,
                f"It requires Python {bounds}, and the image has {version}. Choose another "
                "image.",
                path,
            )


def find_misfits(
    folder: str, python: ImagePython, asked: Iterable[Requirement]
) -> frozenset[str]:
    """
    Return the names of packages that the image has in a version which something in *folder*
    does not work with, and that are not in *folder*.

    Arguments:
        python: The Python of the image, with what it has installed.

        asked: What is in the folder was asked for by these, some perhaps with extras.
    """
    if not python.installed:
        return frozenset()
    added = {
        canonical_name(each.name): tuple(_specifiers(each.requires or ()))
        for each in distributions(path=[folder])
    }
    theirs = {canonical_name(name): version for name, version in python.installed.items()}
    surroundings = _surroundings(python)
    extras: dict[str, set[str]] = {name: {""} for name in added}
    for written in _specifiers(each.text for each in asked if each.form == "index"):
        extras.get(canonical_name(written.name), set()).update(written.extras)
    left, misfits = list(added), set()
    while left:
        name = left.pop()
        for needed in added[name]:
            found = canonical_name(needed.name)
            if not _applies(needed, surroundings, extras[name]):
                continue
            if found not in added:
                if found in theirs and not _fits(needed, theirs[found]):
                    misfits.add(found)
            elif not needed.extras <= extras[found]:
                extras[found] |= needed.extras
                left.append(found)
    return frozenset(misfits)


def _specifiers(texts: Iterable[str]) -> Iterator[Specifier]:
    from packaging.requirements import InvalidRequirement
    from packaging.requirements import Requirement as Specifier

    for text in texts:
        try:
            yield Specifier(text)
        except InvalidRequirement:
            continue  # uv has taken it for what it is.


def _surroundings(python: ImagePython) -> dict[str, str]:
    """Return what markers of requirements are compared with."""
    return {
        "python_version": ".".join(python.version.split(".")[:2]),
        "python_full_version": python.version,
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "os_name": "posix",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": python.machine,
    }


def _applies(needed: Specifier, surroundings: Mapping[str, str], extras: set[str]) -> bool:
    from packaging.markers import UndefinedComparison, UndefinedEnvironmentName

    if needed.marker is None:
        return True
    try:
        return any(needed.marker.evaluate({**surroundings, "extra": extra}) for extra in extras)
    except (UndefinedComparison, UndefinedEnvironmentName):
        return False


def _fits(needed: Specifier, version: str) -> bool:
    """
    Tell whether *version* of the image is one of those that are *needed*.

    Where an extra is, what it brings may be missing in the image.
    """
    from packaging.version import InvalidVersion

    if needed.url is not None:
        return True  # Which version is there is not known.
    try:
        return not needed.extras and needed.specifier.contains(version, prereleases=True)
    except InvalidVersion:
        return not needed.specifier
