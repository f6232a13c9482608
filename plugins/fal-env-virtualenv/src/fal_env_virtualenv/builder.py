"""
How an environment is built: in a temporary place, marked, and renamed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from threading import Event
from typing import TYPE_CHECKING

import attrs

from fal_core.environments import LocalInterpreter
from fal_core.errors import Cancelled, EnvironmentBuildError
from fal_core.events import Level, Log, LogSink
from fal_env_virtualenv import credentials, failures, files, records, tools
from fal_env_virtualenv.indexes import Indexes, find_indexes, platform_name
from fal_env_virtualenv.pythons import Python, find_python
from fal_env_virtualenv.records import Record
from fal_env_virtualenv.requirements import Requirement, parse

if TYPE_CHECKING:
    from fal_env_virtualenv import Virtualenv

_SUFFIX = ".dist-info"


def build(
    environment: Virtualenv, key: str, log: LogSink, cancelled: Event
) -> LocalInterpreter:
    """
    Build *environment*, whose key is *key*, unless another does so meanwhile.

    Raises:
        EnvironmentBuildError: It cannot be built.

        Cancelled: *cancelled* was set.
    """
    root = records.store_root()
    say = _speaker(log)
    try:
        for name in ("keys", "locks", "building", "trash"):
            os.makedirs(os.path.join(root, name), exist_ok=True)
        with files.locked(records.lock_path(key), cancelled, _announce(say)):
            found = records.find(key, force=environment.force)
            if found is None:
                sweep(key)
                _build_alone(environment, key, say, cancelled)
                found = records.find(key, force=environment.force)
    except OSError as error:
        raise EnvironmentBuildError(failures.KIND, files.describe_failure(error)) from error
    if found is None:
        raise EnvironmentBuildError(
            failures.KIND, "What was built vanished at once; something else removes files of the cache."
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
        with files.locked(records.lock_path(record.key), cancelled, _announce(say)):
            sweep(record.key)
            _build_from_pins(record, find_indexes(), say, cancelled)
    except OSError as error:
        raise EnvironmentBuildError(failures.KIND, files.describe_failure(error)) from error


def _speaker(log: LogSink) -> Callable[[str], None]:
    def say(line: str) -> None:
        level: Level = "INFO"
        if line.lstrip().startswith(("error:", "×")):
            level = "ERROR"
        elif line.lstrip().startswith("warning:"):
            level = "WARNING"
        log(Log(credentials.mask(line), level, "BUILDER", time.time()))

    return say


def _announce(say: Callable[[str], None]) -> Iterator[None]:
    say("Waiting for another build of this environment.")
    yield


def _build_alone(
    environment: Virtualenv, key: str, say: Callable[[str], None], cancelled: Event
) -> None:
    """
    Build for *key*, whose lock is held, from its record or anew.
    """
    indexes = find_indexes(environment.extra_index_urls)
    record = None if environment.force else records.read_record(key)
    if record is not None:
        say(f"The environment must be built again: {records.fault(record)}.")
        _build_from_pins(record, indexes, say, cancelled)
        return
    python = find_python(environment.python_version, records.store_root())
    wanted = ", ".join(entry for layer in environment.layers for entry in layer) or "nothing"
    say(f"Building a virtual environment of Python {python.version} with {wanted}")
    with_constraints = (environment.constraints_file,) if environment.constraints_file else ()
    with _Workplace.made(key, python, indexes, say, cancelled) as place:
        for layer in environment.layers:
            place.install(
                [parse(entry) for entry in layer],
                constraints=[str(path) for path in with_constraints],
                compile_bytecode=environment.compile_bytecode,
                refresh=environment.force,
            )
        record = Record(
            key=key,
            requirements=tuple(
                tuple(credentials.without(entry) for entry in layer)
                for layer in environment.layers
            ),
            python=python,
            platform=platform_name(),
            pins=place.pins(),
            packages=place.packages(),
            created=time.time(),
            compile_bytecode=environment.compile_bytecode,
        )
        records.write_record(record)
        place.finish(record)
    if environment.force:
        records.forced.add(key)


def _build_from_pins(
    record: Record, indexes: Indexes, say: Callable[[str], None], cancelled: Event
) -> None:
    with _Workplace.made(record.key, record.python, indexes, say, cancelled) as place:
        try:
            if record.pins:
                place.install_pins(record)
        except EnvironmentBuildError as error:
            raise attrs.evolve(
                error,
                reason=f"{error.reason} It was to be as it was first resolved; "
                "force=True resolves anew.",
            ) from error
        missing = set(record.packages) - set(place.packages())
        if missing:
            raise EnvironmentBuildError(
                failures.KIND, f"Its pins did not bring {min(missing).removesuffix(_SUFFIX)}."
            )
        place.finish(record)


@attrs.define(kw_only=True)
class _Workplace:
    """
    The temporary place of one build.

    Attributes:
        directory: Holds the environment and what uv is given.
    """

    directory: str
    python: Python
    indexes: Indexes
    say: Callable[[str], None]
    cancelled: Event

    @classmethod
    def made(
        cls,
        key: str,
        python: Python,
        indexes: Indexes,
        say: Callable[[str], None],
        cancelled: Event,
    ) -> _Workplace:
        name = f"{key}.{os.urandom(4).hex()}"
        place = cls(
            directory=os.path.join(records.store_root(), "building", name),
            python=python,
            indexes=indexes,
            say=say,
            cancelled=cancelled,
        )
        os.mkdir(place.directory)
        return place

    @property
    def environment(self) -> str:
        return os.path.join(self.directory, "environment")

    @property
    def library(self) -> str:
        return os.path.join(self.environment, self.python.library)

    def __enter__(self) -> _Workplace:
        try:
            create(self.environment, self.python)
        except BaseException:
            shutil.rmtree(self.directory, ignore_errors=True)
            raise
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if isinstance(error, Cancelled):
            # Whoever cancels does not wait until many files are removed.
            threading.Thread(
                target=shutil.rmtree, args=(self.directory, True), daemon=True
            ).start()
        else:
            shutil.rmtree(self.directory, ignore_errors=True)

    def install(
        self,
        requirements: Sequence[Requirement],
        *,
        constraints: Sequence[str],
        compile_bytecode: bool,
        refresh: bool,
    ) -> None:
        """
        Install one layer, and change nothing of those before it.
        """
        if not requirements:
            return
        earlier = [pin for pin in self.pins() if "==" in pin and " @ " not in pin]
        arguments = [*self._arguments(requirements)]
        if earlier:
            constraints = (*constraints, self._write("earlier.txt", earlier))
        arguments += [part for path in constraints for part in ("-c", path)]
        arguments += ["--compile-bytecode"] if compile_bytecode else []
        lines, code = self._uv([*arguments, *(["--refresh"] if refresh else [])])
        if code != 0 and not refresh and self.indexes.config and failures.is_unsolved(lines):
            self.say("Trying once more with what the index has now")
            lines, code = self._uv([*arguments, "--refresh"])
        if code != 0:
            raise failures.translate(lines, requirements, code)

    def _arguments(self, requirements: Sequence[Requirement]) -> Iterator[str]:
        """
        Yield *requirements* as arguments; any user may see those of a process.
        """
        hidden = [
            requirement.text
            for requirement in requirements
            if credentials.without(requirement.text) != requirement.text
        ]
        for requirement in requirements:
            if requirement.text not in hidden:
                yield from requirement.arguments
        if hidden:
            yield from ("-r", self._write("requirements.txt", hidden))

    def install_pins(self, record: Record) -> None:
        """
        Install what was resolved before, from uv's cache where that has it all.
        """
        path = self._write("pins.txt", record.pins)
        arguments = ["--no-deps", "-r", path]
        arguments += ["--compile-bytecode"] if record.compile_bytecode else []
        lines, code = self._uv([*arguments, "--offline"], quiet=True)
        if code != 0:
            lines, code = self._uv(arguments)
        if code != 0:
            raise failures.translate(lines, [_pinned(pin) for pin in record.pins], code)

    def _write(self, name: str, lines: Sequence[str]) -> str:
        path = os.path.join(self.directory, name)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w", encoding="utf-8") as stream:
            stream.writelines(f"{line}\n" for line in lines)
        return path

    def _uv(self, arguments: Sequence[str], *, quiet: bool = False) -> tuple[list[str], int]:
        """
        Run ``uv pip install``; return what it printed, and its exit code.
        """
        variables = dict(self.indexes.variables)
        options = ["--python", os.path.join(self.environment, "bin", "python"), "--no-progress"]
        if self.indexes.config is not None:
            options += ["--config-file", self._write("uv.toml", [self.indexes.config])]
            variables |= dict.fromkeys(("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_NO_CONFIG"))
        lines: list[str] = []

        def heard(line: str) -> None:
            # Where the environment is built is of no use to anyone.
            if line.strip() and not line.startswith("Using Python "):
                lines.append(credentials.mask(line))
                if not quiet:
                    self.say(line)

        code = tools.run(
            [*tools.uv_command(), "pip", "install", *options, *arguments],
            variables=tools.uv_variables(variables),
            directory=self.directory,
            heard=heard,
            cancelled=self.cancelled,
        )
        return lines, code

    def packages(self) -> tuple[str, ...]:
        """
        The names of the directories that describe what is installed.
        """
        return tuple(
            sorted(name for name in os.listdir(self.library) if name.endswith(_SUFFIX))
        )

    def pins(self) -> tuple[str, ...]:
        """
        What is installed, as lines of a requirements file.
        """
        return tuple(_pin(os.path.join(self.library, name)) for name in self.packages())

    def finish(self, record: Record) -> None:
        """
        Mark the environment as whole, and put it where *record* says.
        """
        if self.cancelled.is_set():
            raise Cancelled("The call was cancelled while its environment was built.")
        with open(os.path.join(self.environment, records.IN_USE), "w"):
            pass
        files.write_durably(os.path.join(self.environment, records.MARKER), record.digest)
        records.release(record.path)
        discard(record.path)
        os.rename(self.environment, record.path)


def create(path: str, python: Python) -> None:
    """
    Make an empty virtual environment at *path* that may be moved.

    It is what ``uv venv --relocatable`` makes, without the scripts for shells
    and without a process.
    """
    programs = os.path.join(path, "bin")
    os.makedirs(programs)
    os.makedirs(os.path.join(path, python.library))
    os.symlink(python.executable, os.path.join(programs, "python"))
    for name in ("python3", f"python{python.minor_version}"):
        os.symlink("python", os.path.join(programs, name))
    if sys.platform == "linux" and sys.maxsize > 2**32:
        os.symlink("lib", os.path.join(path, "lib64"))
    settings = {
        "home": os.path.dirname(python.executable),
        "implementation": {"cpython": "CPython", "pypy": "PyPy"}.get(
            python.implementation, python.implementation
        ),
        "version_info": python.version,
        "include-system-site-packages": "false",
        "relocatable": "true",
    }
    with open(os.path.join(path, "pyvenv.cfg"), "w", encoding="utf-8") as stream:
        stream.writelines(f"{name} = {value}\n" for name, value in settings.items())


def discard(path: str) -> None:
    """
    Remove the directory *path*: first from its place, then from the disk.
    """
    trash = os.path.join(records.store_root(), "trash")
    moved = os.path.join(trash, os.urandom(8).hex())
    try:
        os.makedirs(trash, exist_ok=True)
        os.rename(path, moved)
    except FileNotFoundError:
        return
    shutil.rmtree(moved, ignore_errors=True)


def sweep(key: str | None = None) -> None:
    """
    Remove what killed builds have left for *key*, whose lock is held, and the trash.
    """
    root = records.store_root()
    for place in ("trash", "building"):
        for name in os.listdir(os.path.join(root, place)):
            if place == "trash" or (key is not None and name.startswith(f"{key}.")):
                shutil.rmtree(os.path.join(root, place, name), ignore_errors=True)


def _pin(description: str) -> str:
    """
    Return the line that installs once more what the directory *description* describes.
    """
    name, version = os.path.basename(description).removesuffix(_SUFFIX).split("-", 1)
    try:
        with open(os.path.join(description, "direct_url.json"), encoding="utf-8") as stream:
            origin = json.load(stream)
    except FileNotFoundError:
        return f"{name.replace('_', '-')}=={version}"
    url = credentials.without(origin["url"])
    if origin.get("dir_info", {}).get("editable"):
        return f"-e {url}"
    if (commit := origin.get("vcs_info")) is not None:
        url = f"{commit['vcs']}+{url}@{commit['commit_id']}"
    if (subdirectory := origin.get("subdirectory")) is not None:
        url = f"{url}#subdirectory={subdirectory}"
    return f"{name.replace('_', '-')} @ {url}"


def _pinned(pin: str) -> Requirement:
    name = re.match(r"[\w.-]+", pin)
    return Requirement(text=pin, form="index", name=name[0] if name else None)
