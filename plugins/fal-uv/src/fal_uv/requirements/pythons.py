"""The Python that an environment is made from."""

from __future__ import annotations

import os
import sys

import attrs

from fal_core.reprs import show_fields


@attrs.frozen(kw_only=True)
class Python:
    """
    An interpreter outside of any virtual environment.

    Attributes:
        executable: Its path, with symbolic links resolved.

        version: All three numbers, as in ``3.11.7``.

        implementation: As in ``cpython``.

        abiflags: ``t`` for a free-threaded build.
    """

    __repr__ = show_fields

    executable: str
    version: str
    implementation: str = "cpython"
    abiflags: str = ""

    @property
    def minor_version(self) -> str:
        """The first two numbers, as in ``3.11``."""
        return ".".join(self.version.split(".")[:2])

    @property
    def is_free_threaded(self) -> bool:
        """Whether it has no GIL."""
        return "t" in self.abiflags

    @property
    def library(self) -> str:
        """The path of ``site-packages``, relative to the root of an environment."""
        name = "pypy" if self.implementation == "pypy" else "python"
        threads = "t" if self.is_free_threaded else ""
        return f"lib/{name}{self.minor_version}{threads}/site-packages"

    def fits(self, version: str) -> bool:
        """Tell whether this is a Python of *version*, which may leave numbers out."""
        wanted = version.strip()
        if wanted.endswith("t") != self.is_free_threaded:
            return False
        numbers = wanted.rstrip("t").split(".")
        return self.version.split(".")[: len(numbers)] == numbers


def running_python() -> Python:
    """Return the running interpreter, or the one that its virtual environment is made from."""
    executable = getattr(sys, "_base_executable", None) or sys.executable
    if not os.path.exists(executable):
        executable = sys.executable  # The base may have no program of that name.
    return Python(
        executable=os.path.realpath(executable),
        version=".".join(map(str, sys.version_info[:3])),
        implementation=sys.implementation.name,
        abiflags=getattr(sys, "abiflags", ""),
    )


def version_numbers(version: str) -> list[int]:
    """Return the numbers of a *version* such as ``3.11.7`` or ``3.14.0t``, to compare and sort by."""
    return [int(part) for part in version.rstrip("t").split(".")]
