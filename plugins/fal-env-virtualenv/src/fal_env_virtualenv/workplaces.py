"""
The temporary place in which one environment is built.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import shutil
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from threading import Event

import attrs

from fal_core.errors import Cancelled
from fal_env_virtualenv import contents, credentials, failures, files, records, seats, tools
from fal_env_virtualenv.indexes import Indexes
from fal_env_virtualenv.pythons import Python
from fal_env_virtualenv.records import Record
from fal_env_virtualenv.requirements import Requirement, normalise_name

#: Seconds that a process which ends gives its builds to remove what they made.
_PATIENCE = 5.0

# The places that are not removed yet. A forked child has none of them.
_open: set[str] = set()
_left = threading.Condition()


def _remove(directory: str) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    with _left:
        _open.discard(directory)
        _left.notify_all()


def _leave_none() -> None:
    """
    End the builds of this process, which ends, and wait until their places are removed.
    """
    tools.exiting.set()
    with _left:
        _left.wait_for(lambda: not _open, _PATIENCE)


def _forget_places() -> None:
    global _left
    _left = threading.Condition()
    _open.clear()


atexit.register(_leave_none)
os.register_at_fork(after_in_child=_forget_places)

#: What ends the name of a directory that describes an installed package.
DESCRIPTION = ".dist-info"


@attrs.define(kw_only=True)
class Workplace:
    """
    The temporary place of one build, removed when it is left.

    Attributes:
        directory: Holds the environment and what uv is given.

        seat: Where uv sees *directory*, and the descriptor that it inherits for that.
    """

    directory: str
    python: Python
    indexes: Indexes
    say: Callable[[str], None]
    cancelled: Event
    seat: tuple[str, int] | None = attrs.field(init=False, default=None)
    _exits: ExitStack = attrs.field(init=False, factory=ExitStack)

    @classmethod
    def made(
        cls,
        key: str,
        python: Python,
        indexes: Indexes,
        say: Callable[[str], None],
        cancelled: Event,
    ) -> Workplace:
        name = f"{key}.{os.urandom(4).hex()}"
        place = cls(
            directory=os.path.join(records.store_root(), "building", name),
            python=python,
            indexes=indexes,
            say=say,
            cancelled=cancelled,
        )
        os.mkdir(place.directory)
        with _left:
            _open.add(place.directory)
        return place

    @property
    def environment(self) -> str:
        return os.path.join(self.directory, "environment")

    @property
    def library(self) -> str:
        return os.path.join(self.environment, self.python.library)

    def __enter__(self) -> Workplace:
        try:
            create(self.environment, self.python)
            taken = seats.taken(records.store_root(), self.directory, self.python)
            self.seat = self._exits.enter_context(taken)
        except BaseException:
            _remove(self.directory)
            raise
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._exits.close()
        if isinstance(error, Cancelled):
            # Whoever cancels does not wait until many files are removed.
            threading.Thread(target=_remove, args=(self.directory,), daemon=True).start()
        else:
            _remove(self.directory)

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
        earlier = [pin for pin in self.pins() if _version(pin) is not None]
        arguments = [*self._arguments(requirements)]
        if earlier:
            constraints = (*constraints, self._write("earlier.txt", earlier))
        arguments += [part for path in constraints for part in ("-c", path)]
        arguments += ["--compile-bytecode"] if compile_bytecode else []
        # uv looks at few files of a project to tell whether it has changed.
        for name in contents.project_names(requirements):
            arguments += ["--refresh-package", name]
        # Paths in a file count from where uv runs, and are meant to from the file.
        listed = [entry.path for entry in requirements if entry.form == "file" and entry.path]
        directory = os.path.dirname(listed[0]) if listed else self.directory
        lines, code = self._uv(arguments, directory=directory, refresh=refresh)
        if code != 0 and not refresh and self.indexes.config and failures.is_unsolved(lines):
            self.say("Trying once more with what the index has now")
            lines, code = self._uv(arguments, directory=directory, refresh=True)
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
            pins = [pin.partition(" --hash=")[0] for pin in record.pins]
            raise failures.translate(lines, [_pinned(pin) for pin in pins], code)

    def _write(self, name: str, lines: Sequence[str]) -> str:
        path = os.path.join(self.directory, name)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w", encoding="utf-8") as stream:
            stream.writelines(f"{line}\n" for line in lines)
        return path

    def _uv(
        self,
        arguments: Sequence[str],
        *,
        directory: str | None = None,
        refresh: bool = False,
        quiet: bool = False,
    ) -> tuple[list[str], int]:
        """
        Run ``uv pip install``; return what it printed, and its exit code.
        """
        options, variables = self._settings(refresh)
        lines: list[str] = []
        failed: list[str] = []

        def heard(line: str) -> None:
            # Where the environment is built is of no use to anyone.
            if line.strip() and not line.startswith("Using Python "):
                lines.append(credentials.mask(line))
                if failed or failures.is_error(line):
                    failed.append(line)
                elif not quiet:
                    self.say(line)

        code = tools.run(
            [*tools.uv_command(), "pip", "install", *options, *arguments],
            variables=tools.uv_variables(variables),
            directory=directory or self.directory,
            heard=heard,
            cancelled=self.cancelled,
            inherited=() if self.seat is None else self.seat[1:],
        )
        # The reason is the error's to tell; here it would be told twice.
        for line in () if quiet else failures.beside_reason(failed):
            self.say(line)
        return lines, code

    def _settings(self, refresh: bool) -> tuple[list[str], dict[str, str | None]]:
        """
        Return the options that uv is given, and the variables that are changed for it.
        """
        variables = dict(self.indexes.variables)
        seen = self.directory if self.seat is None else self.seat[0]
        python = os.path.join(seen, "environment", "bin", "python")
        options = ["--python", python, "--no-progress"]
        if refresh:
            options.append("--refresh")
        # What uv may keep of an index, it does not refresh either.
        config = None if refresh else self.indexes.config
        if config is not None:
            variables |= dict.fromkeys(("UV_NO_CONFIG", "UV_DEFAULT_INDEX", "UV_INDEX_URL"))
            options += ["--config-file", self._write("uv.toml", [config])]
        elif not self.indexes.configuration:
            options.append("--no-config")
        return options, variables

    def packages(self) -> tuple[str, ...]:
        """
        The names of the directories that describe what is installed.
        """
        return tuple(
            sorted(name for name in os.listdir(self.library) if name.endswith(DESCRIPTION))
        )

    def pins(self) -> tuple[str, ...]:
        """
        What is installed, as lines of a requirements file.
        """
        return tuple(_pin(os.path.join(self.library, name)) for name in self.packages())

    def hashed_pins(self) -> tuple[str, ...]:
        """
        Return :meth:`pins`, with the hashes of the files that the index has for each.

        They are taken from what uv has kept of the index, and the index is not asked
        again. Where it tells none, and for what comes from elsewhere, there are none.
        """
        pins = self.pins()
        named = [pin for pin in pins if _version(pin) is not None]
        if not named:
            return pins
        options, variables = self._settings(refresh=False)
        options += ["--generate-hashes", "--no-deps", "--no-header", "--no-annotate"]
        options += ["--offline", "--quiet", self._write("named.txt", named)]
        _, output = tools.ask(
            [*tools.uv_command(), "pip", "compile", *options],
            variables=variables,
            directory=self.directory,
        )
        hashes = _hashes(output)
        return tuple(" ".join((pin, *hashes.get(_version(pin), ()))) for pin in pins)

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
    name, version = os.path.basename(description).removesuffix(DESCRIPTION).split("-", 1)
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


def _version(pin: str) -> tuple[str, str] | None:
    """
    Return the name and the version of a *pin*; None for one of an address.
    """
    name, equal, version = pin.partition("==")
    return (normalise_name(name), version) if equal and " @ " not in pin else None


def _hashes(written: str) -> dict[tuple[str, str] | None, list[str]]:
    """
    Return the options that name hashes, by the pins they follow in what uv has written.
    """
    lines = (line.split() for line in written.replace("\\\n", " ").splitlines())
    return {
        version: [word for word in words if word.startswith("--hash=")]
        for pin, *words in filter(None, lines)
        if (version := _version(pin)) is not None
    }


def _pinned(pin: str) -> Requirement:
    name = re.match(r"[\w.-]+", pin)
    return Requirement(text=pin, form="index", name=name[0] if name else None)
