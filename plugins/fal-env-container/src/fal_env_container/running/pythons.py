"""
Pythons of images: what packages have to fit, asked once of each image.
"""

from __future__ import annotations

import json
import os
from typing import Any

import attrs

from fal_core.caches import cache_directory, write_atomically
from fal_core.environments import python_problem
from fal_core.errors import EnvironmentBuildError
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
    found = sorted(set(str(each.metadata["Name"]) for each in distributions()))
except ImportError:
    found = []
print(json.dumps({
    "version": ".".join(str(number) for number in sys.version_info[:3]),
    "abi": getattr(sys, "abiflags", ""),
    "machine": platform.machine(),
    "libc": libc,
    "installed": found,
}))
"""


@attrs.frozen(kw_only=True)
class ImagePython:
    """
    The Python of an image.

    Attributes:
        version: As in ``3.12.4``.

        abi: Its flags, as in ``t`` for one without a GIL.

        machine: As ``uname -m`` prints it.

        libc: As in ``glibc 2.36``. None for musl.

        installed: The names of the distributions that it finds.
    """

    __repr__ = show_fields

    version: str
    abi: str
    machine: str
    libc: str | None
    installed: tuple[str, ...] = attrs.field(converter=tuple)

    @property
    def glibc(self) -> str | None:
        """
        The version of glibc, as in ``2.36``. None for musl.
        """
        name, _, version = (self.libc or "").partition(" ")
        return version if name == "glibc" and version else None


def find_python(engine: Engine, image: BuiltImage, executable: str) -> ImagePython:
    """
    Return the Python of *image*, which is asked in a container the first time.

    Raises:
        EnvironmentBuildError: It has none, or one that no worker runs on.
    """
    found = known_python(image)
    if found is None:
        found = _ask(engine, image, executable)
        cache_directory("containers", make=True)
        path = _record_path(image)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        write_atomically(path, json.dumps(attrs.asdict(found)), durable=False)
    if problem := python_problem(found.version):
        reason = problem.replace("The environment", f"Image {image.name!r}")
        raise EnvironmentBuildError(KIND, reason)
    return found


def known_python(image: BuiltImage) -> ImagePython | None:
    """
    Return the Python of *image* if it was asked before.
    """
    try:
        with open(_record_path(image), encoding="utf-8") as file:
            return ImagePython(**json.load(file))
    except (OSError, ValueError, TypeError):
        return None


def _record_path(image: BuiltImage) -> str:
    return os.path.join(cache_directory("containers"), "pythons", f"{image.id}.json")


def _ask(engine: Engine, image: BuiltImage, executable: str) -> ImagePython:
    options = ["--rm", "--pull=never", "--network=none", f"--entrypoint={executable}"]
    if image.platform != engine.platform:
        options.append(f"--platform={image.platform}")
    answer = engine.ask("run", *options, image.id, "-I", "-c", _QUESTION)
    content: Any = None
    if answer.code == 0:
        try:
            content = json.loads(answer.output.strip().rpartition("\n")[2])
        except ValueError:
            content = None
    if not isinstance(content, dict):
        reason = explain(engine, image, executable, None, answer.code, answer.errors)
        said = str(reason) if reason is not None else f"Its Python answers: {answer.problem}."
        raise EnvironmentBuildError(KIND, said)
    return ImagePython(**content)
