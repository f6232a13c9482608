"""Pythons of images: what packages have to fit, asked once of each image."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping

import attrs

from fal_core.caches import cache_directory, write_atomically
from fal_core.environments import is_within, python_problem
from fal_core.errors import EnvironmentBuildError
from fal_core.events import Log, LogSink
from fal_core.reprs import show_fields
from fal_env_container.engines import KIND, Engine
from fal_env_container.images.built_images import BuiltImage
from fal_env_container.running.endings import explain

#: Printed by the image's Python, which may be too old for a worker.
_QUESTION = """\
import json, os, platform, sys
try:
    libc = os.confstr("CS_GNU_LIBC_VERSION")
except (AttributeError, OSError, ValueError):
    libc = None
try:
    from importlib.metadata import distributions
    found = {}
    for each in distributions():
        # The first one is that which an import finds.
        found.setdefault(str(each.metadata["Name"]), str(each.version))
except ImportError:
    found = {}
print(json.dumps({
    "version": ".".join(str(number) for number in sys.version_info[:3]),
    "abi": getattr(sys, "abiflags", ""),
    "machine": platform.machine(),
    "libc": libc,
    "installed": found,
}))
"""

#: The most bytes of an answer.
_LONGEST = 4 << 20

_VERSION, _WORD = re.compile(r"\d+(\.\d+)+"), re.compile(r"\w+")
#: A name of a distribution. uv would take other lines for options, and for names of files.
_NAME = re.compile(r"[a-z0-9]([\w.-]*[a-z0-9])?", re.I | re.A)


def _to_versions(versions: Mapping[str, str]) -> dict[str, str]:
    if not isinstance(versions, Mapping):
        raise TypeError("An earlier version has kept names alone.")
    return {name: version for name, version in versions.items() if _NAME.fullmatch(name)}


@attrs.frozen(kw_only=True)
class ImagePython:
    """
    The Python of an image.

    Attributes:
        version: As in ``3.12.4``.

        abi: Its flags, as in ``t`` for one without a GIL.

        machine: As ``uname -m`` prints it.

        libc: As in ``glibc 2.36``. None for musl.

        installed: The versions of the distributions that it finds, by their names.
    """

    __repr__ = show_fields

    version: str
    abi: str
    machine: str
    libc: str | None
    installed: Mapping[str, str] = attrs.field(converter=_to_versions)

    @property
    def glibc(self) -> str | None:
        """The version of glibc, as in ``2.36``. None for musl."""
        name, _, version = (self.libc or "").partition(" ")
        return version if name == "glibc" and version else None


def find_python(
    engine: Engine, image: BuiltImage, executable: str, log: LogSink | None = None
) -> ImagePython:
    """
    Return the Python of *image*, which is asked in a container the first time; *log* is told.

    Raises:
        EnvironmentBuildError: It has none, or one that no worker runs on.
    """
    found = known_python(image)
    if found is None:
        if log is not None:
            # A busy machine may take long to start a container.
            message = f"Starting {executable} of the image once, to ask for its version"
            log(Log(message, "INFO", "BUILDER", time.time()))
        found = _ask(engine, image, executable)
        cache_directory("containers", make=True)
        path = _record_path(image)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        write_atomically(path, json.dumps(attrs.asdict(found)), durable=False)
    if problem := python_problem(found.version):
        reason = problem.replace("The environment", image.described)
        raise EnvironmentBuildError(KIND, reason)
    return found


def known_python(image: BuiltImage) -> ImagePython | None:
    """Return the Python of *image* if it was asked before."""
    try:
        with open(_record_path(image), encoding="utf-8") as file:
            return ImagePython(**json.load(file))
    except (OSError, ValueError, TypeError):
        return None


def _record_path(image: BuiltImage) -> str:
    return os.path.join(cache_directory("containers"), "pythons", f"{image.id}.json")


def _ask(engine: Engine, image: BuiltImage, executable: str) -> ImagePython:
    name = f"fal-core-python-{os.getpid()}-{os.urandom(6).hex()}"
    # It may be a stranger's, or be no Python at all.
    options = ["--rm", "--pull=never", "--network=none", f"--name={name}"]
    options += [f"--entrypoint={executable}", "--security-opt=no-new-privileges"]
    if image.platform != engine.platform:
        options.append(f"--platform={image.platform}")
    try:
        answer = engine.ask("run", *options, image.id, "-I", "-c", _QUESTION, most=_LONGEST)
    except EnvironmentBuildError as error:
        # It goes on without who has asked.
        engine.ask("rm", "--force", name)
        reason = f"{image.described} could not be asked for the version of its Python"
        raise EnvironmentBuildError(KIND, f"{reason}: {error.reason}") from error
    found = _read(answer.output) if answer.code == 0 else None
    if found is None:
        problem = explain(engine, image, executable, None, answer.code, answer.errors)
        said = str(problem) if problem is not None else f"Its Python answers: {answer.problem}."
        raise EnvironmentBuildError(KIND, said)
    return found


def _read(output: str) -> ImagePython | None:
    """Return the Python that has printed *output*; None if that is no answer."""
    try:
        found = ImagePython(**json.loads(output.strip().rpartition("\n")[2]))
    except (ValueError, TypeError, RecursionError):
        return None
    texts = [found.version, found.abi, found.machine, found.libc or ""]
    texts += [*found.installed, *found.installed.values()]
    is_whole = all(isinstance(each, str) and each.isprintable() for each in texts)
    if is_whole and _VERSION.fullmatch(found.version) and _WORD.fullmatch(found.machine):
        return found if found.glibc is None or _VERSION.fullmatch(found.glibc) else None
    return None


def mismatch(
    image: BuiltImage, python: ImagePython, wanted: str, *, is_of_caller: bool
) -> EnvironmentBuildError | None:
    """
    Return the error of *image* whose *python* is not of the version *wanted*.

    Arguments:
        is_of_caller: Whether clients that name no version ask for that of their own Python,
            since what they send runs on no other.
    """
    if is_within(python.version, wanted):
        return None
    has = ".".join(python.version.split(".")[:2])
    told, remedy = "python_version asks for", "Leave python_version out, or"
    if is_of_caller:
        told, remedy = "what was sent needs Python", f"Send it from Python {has}, or"
    return EnvironmentBuildError(
        KIND,
        f"{image.described} has Python {python.version}, and {told} {wanted}. {remedy} take "
        f"an image that has Python {wanted}.",
    )
