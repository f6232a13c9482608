"""Mounts: what of this machine a container sees."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable

import attrs

from fal_core.errors import EnvironmentBuildError, OptionError
from fal_env_container.engines import KIND, Engine

#: Directories that a container has of its image. A mount there would hide what runs in it.
_OF_THE_SYSTEM = frozenset(
    [
        "/",
        "/bin",
        "/boot",
        "/dev",
        "/etc",
        "/lib",
        "/lib32",
        "/lib64",
        "/libx32",
        "/proc",
        "/run",
        "/sbin",
        "/sys",
        "/usr",
        "/var",
    ]
)
_MODES = frozenset(("ro", "rw", "z", "Z", "U", "nocopy", "cached", "delegated", "consistent"))


@attrs.frozen
class Mount:
    """
    A directory or file of this machine, or a volume of the engine, in a container.

    Attributes:
        source: A path, or the name of a volume.

        target: The path in the container.

        modes: As in ``ro``.
    """

    source: str
    target: str
    modes: tuple[str, ...] = ()

    @classmethod
    def parse(cls, written: str) -> Mount:
        """
        Return what *written* asks for, as in ``data:/data:ro``.

        Raises:
            OptionError: It cannot be understood.
        """
        source, colon, rest = written.partition(":")
        target, _, modes = rest.partition(":")
        if not (colon and source and posixpath.isabs(target)):
            raise OptionError(
                f"Volume {written!r} cannot be understood. Write a path of this machine and "
                "where the container sees it, as in './data:/data' or '/srv/models:/models:ro'."
            )
        unknown = [mode for mode in modes.split(",") if mode and mode not in _MODES]
        if unknown:
            raise OptionError(
                f"Volume {written!r} has the unknown mode {unknown[0]!r}. Write 'ro' for a "
                "volume that is only read."
            )
        return cls(source, posixpath.normpath(target), tuple(filter(None, modes.split(","))))

    @property
    def is_path(self) -> bool:
        """Whether the source is a path; otherwise it is the name of a volume."""
        return "/" in self.source or self.source.startswith((".", "~"))

    def found(self) -> Mount:
        """
        Return this mount with the absolute path of its source.

        Raises:
            EnvironmentBuildError: There is no such path, or the name of a volume is that of
                a folder, which was probably meant.
        """
        if not self.is_path:
            if os.path.isdir(self.source):
                raise EnvironmentBuildError(
                    KIND,
                    f"volume '{self.source}:{self.target}': {self.source!r} is the name of a "
                    "volume of the engine, and of a folder here. Write "
                    f"'./{self.source}:{self.target}' for the folder, or name another volume.",
                )
            return self
        path = os.path.abspath(os.path.expanduser(self.source))
        if not os.path.exists(path):
            raise EnvironmentBuildError(
                KIND,
                f"volume '{self.source}:{self.target}': this machine has no {path}. Make it "
                "first, or name what there is.",
            )
        return attrs.evolve(self, source=path)

    @property
    def option(self) -> str:
        """What an engine is told."""
        if ":" not in self.source + self.target:
            return "--volume=" + ":".join((self.source, self.target, *self._joined_modes))
        kind = "bind" if self.is_path else "volume"
        parts = [f"type={kind}", f"source={self.source}", f"target={self.target}"]
        if "ro" in self.modes:
            parts.append("readonly")
        quoted = (part.replace('"', '""') for part in parts)
        return "--mount=" + ",".join(f'"{part}"' for part in quoted)

    @property
    def _joined_modes(self) -> tuple[str, ...]:
        return (",".join(self.modes),) if self.modes else ()


def find_volumes(engine: Engine, written: Iterable[str]) -> tuple[Mount, ...]:
    """
    Return the mounts of the volumes that are *written*, as containers of *engine* see them.

    Raises:
        EnvironmentBuildError: One is a path that is not there, or that the engine does not see.
    """
    mounts = tuple(Mount.parse(each).found() for each in written)
    for mount in mounts:
        if mount.is_path and engine.place == "elsewhere":
            raise EnvironmentBuildError(
                KIND,
                f"volume '{mount.source}:{mount.target}' is a path of this machine, which "
                f"{engine.name} on another machine does not see. Name a volume of the engine, "
                "as in 'models:/models'.",
            )
    return mounts


def hides_the_system(target: str) -> bool:
    """Tell whether a mount at *target* would hide what a container runs."""
    return posixpath.normpath(target) in _OF_THE_SYSTEM
