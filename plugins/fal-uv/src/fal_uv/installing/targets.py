"""Targets: what packages are installed into, and the Python that they are chosen for."""

from __future__ import annotations

import sys

import attrs

from fal_core.reprs import show_fields

#: The second numbers of the versions of glibc that uv has platforms for.
_GLIBC = (17, 28, *range(31, 41))


@attrs.frozen(kw_only=True)
class Target:
    """
    What packages are installed into.

    Attributes:
        library: The directory of the packages.

        choice: Options with which uv chooses files: the Python, and the platform.

        place: Options with which uv installs them.
    """

    __repr__ = show_fields

    library: str
    choice: tuple[str, ...]
    place: tuple[str, ...] = ()

    @classmethod
    def of_python(cls, executable: str, library: str) -> Target:
        """
        Return a Python of this machine as a target.

        It is that of a virtual environment, or of a prefix that something else has made,
        as conda makes them; its mark as externally managed does not count.

        Arguments:
            library: Its ``site-packages``.
        """
        return cls(
            library=library,
            choice=("--python", executable),
            place=("--break-system-packages",),
        )

    @classmethod
    def of_folder(
        cls, path: str, *, python_version: str, platform: str, executable: str | None = None
    ) -> Target:
        """
        Return a folder as a target, for a Python that may be somewhere else.

        That Python finds the packages if the folder is on its ``sys.path``. What has to
        be built from source is built by a Python of this machine; uv refuses the result
        where it does not fit.

        Arguments:
            path: The folder, which need not exist.

            python_version: As in ``3.12``.

            platform: As uv names it: ``x86_64-manylinux_2_36`` for glibc 2.36,
                ``aarch64-unknown-linux-musl`` for musl.

            executable: The Python of this machine with which uv works. By default the
                running one.
        """
        return cls(
            library=path,
            choice=(
                *("--python", executable or sys.executable),
                *("--python-version", python_version),
                *("--python-platform", platform),
            ),
            place=("--target", path),
        )


def linux_platform(machine: str, *, glibc: str | None) -> str:
    """
    Return uv's name of the platform of a Linux whose C library is *glibc*, or else musl.

    Arguments:
        machine: As ``uname -m`` prints it.

        glibc: Its version, as in ``2.36``. None for musl.
    """
    if glibc is None:
        return f"{machine}-unknown-linux-musl"
    minor = int(glibc.split(".")[1])
    known = max((each for each in _GLIBC if each <= minor), default=_GLIBC[0])
    return f"{machine}-manylinux_2_{known}"
