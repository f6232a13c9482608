"""
Definitions: the options of a declaration, brought together and checked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import attrs

from fal_core.environments import THIS_PYTHON, is_within, python_problem
from fal_core.errors import OptionError
from fal_env_conda.declaring.channels import check_channel, find_credentials, strip, to_urls
from fal_env_conda.declaring.environment_files import EnvironmentFile
from fal_env_conda.declaring.lock_files import Lock
from fal_env_conda.rattling.platforms import subdir

_PYTHON = re.compile(r"(?:[^\s:]+::)?python(?![\w.-])\s*(.*)", re.IGNORECASE)
_ONE_MINOR = re.compile(r"=?=?\s*(\d\.\d+)(?:\.\d+)*(?:\.?\*)?(?:\s.*)?")
_RANGE = re.compile(r"(?:(?:>=?|<=?|!=)\s*\d+(?:\.\d+)*\s*(?:,\s*)?)+")
_MINOR_ALONE = re.compile(r"(?:=?=?\s*3\.\d+(?:\.?\*)?)?")
#: What a package may say in brackets of where it comes from.
_IN_BRACKETS = re.compile(r"""[\[,\s](?:channel|url)\s*=\s*["']?([^"',\]\s]+)""")
_INDEX = re.compile(r"--extra-index-url(?:\s+|=)(\S+)")
_OF_PIP = re.compile(r"(?:-[er]\b|--|git\+|\.{0,2}/).*|.*\.whl")


@attrs.frozen(kw_only=True)
class Definition:
    """
    What an environment consists of.

    Attributes:
        channels: URLs, the first preferred; with the credentials of the declaration.

        packages: As conda writes them.

        python_version: As in ``3.11``. None for any that *packages* allow, and then the
            caller's.

        pip: Requirements that are installed into it with uv.

        indexes: URLs of indexes that *pip* names, which are searched before the usual ones.

        lock: The packages, where they were chosen before.

        variables: Environment variables of every program in it.
    """

    channels: tuple[str, ...] = attrs.field(repr=False)
    packages: tuple[str, ...] = ()
    python_version: str | None = None
    pip: tuple[str, ...] = ()
    indexes: tuple[str, ...] = attrs.field(default=(), repr=False)
    lock: Lock | None = None
    variables: tuple[tuple[str, str], ...] = ()

    @property
    def specs(self) -> tuple[str, ...]:
        """
        The packages to solve for, Python among them.
        """
        return (*self.packages, f"python {self.python_version or THIS_PYTHON}.*")

    @property
    def public_channels(self) -> tuple[str, ...]:
        """
        The channels, without credentials.
        """
        return tuple(map(strip, self.channels))

    @property
    def secrets(self) -> tuple[str, ...]:
        """
        What is shown nowhere.
        """
        return tuple(each.password for each in find_credentials(self.channels))


def define(
    file: EnvironmentFile,
    *,
    python_version: str | None,
    packages: Iterable[str],
    pip: Iterable[str],
    channels: Iterable[str],
) -> Definition:
    """
    Return what *file* and the other options ask for together.

    Raises:
        OptionError: They contradict each other, or one is no package, channel or version.
    """
    if file.lock is not None:
        return _define_locked(file.lock, python_version, tuple(pip), tuple(channels))
    listed = (*file.packages, *packages)
    for package in listed:
        _check_package(package)
    return Definition(
        channels=to_urls((*file.channels, *channels)),
        packages=without_python(listed),
        python_version=_find_version(listed, python_version),
        pip=_entries((*file.pip, *pip)),
        indexes=_indexes((*file.pip, *pip)),
        variables=file.variables,
    )


def without_python(packages: Iterable[str]) -> tuple[str, ...]:
    """
    Return *packages* without those that say no more than a minor version of Python, which
    the option *python_version* says too.
    """
    return tuple(each for each in packages if not _is_minor_alone(each))


def _is_minor_alone(package: str) -> bool:
    asked = _PYTHON.fullmatch(package.strip())
    return asked is not None and _MINOR_ALONE.fullmatch(asked[1].strip()) is not None


def _define_locked(
    lock: Lock, python_version: str | None, pip: tuple[str, ...], channels: tuple[str, ...]
) -> Definition:
    found = lock.python_version(subdir())
    if channels:
        raise OptionError(
            "Option 'channels' has no effect on a lock, whose packages say where they come "
            "from. Leave it out."
        )
    if python_version and found and not is_within(python_version, found):
        raise OptionError(
            f"Option 'python_version' asks for Python {python_version}, and the lock has "
            f"{found}. Leave it out."
        )
    if problem := python_problem(found):
        raise OptionError(f"{problem} Make the lock again with a newer one.")
    return Definition(
        channels=(), python_version=found, pip=_entries(pip), indexes=_indexes(pip), lock=lock
    )


def to_entry(text: str) -> str:
    """
    Return an entry of the option *pip*, with an absolute path if it names one.

    Raises:
        OptionError: It is neither a requirement nor an ``--extra-index-url``.
    """
    if _INDEX.fullmatch(text.strip()):
        return text.strip()
    from fal_uv.requirements.entries import parse_entry

    return parse_entry(text).text


def _entries(pip: Iterable[str]) -> tuple[str, ...]:
    """
    Return the requirements among *pip*, with absolute paths.
    """
    return tuple(to_entry(each) for each in pip if not _INDEX.fullmatch(each.strip()))


def _indexes(pip: Iterable[str]) -> tuple[str, ...]:
    named = (_INDEX.fullmatch(each.strip()) for each in pip)
    return tuple(each[1] for each in named if each is not None)


def _check_package(package: str) -> None:
    if not package.strip():
        raise OptionError("Option 'packages' has an empty entry. Remove it.")
    if not package.strip().isprintable():
        raise OptionError(f"Package {package!r} has characters that no package has.")
    if _OF_PIP.fullmatch(package.strip()):
        raise OptionError(
            f"Package {package!r} is written as pip writes requirements. Give it to option "
            "'pip', or write it as conda does, as in 'numpy>=2'."
        )
    channel, colons, _ = package.partition("::")
    if colons:
        check_channel(channel)
    elif "://" in package:
        check_channel(package.strip())
    for found in _IN_BRACKETS.finditer(package):
        check_channel(found[1])


def _find_version(packages: Iterable[str], python_version: str | None) -> str | None:
    """
    Return the version of Python that is asked for, by *packages* too.
    """
    if python_version is not None and not re.fullmatch(r"3\.\d+(?:\.\d+)?", python_version):
        raise OptionError(
            f"Option 'python_version' must be a version, as in '3.11', not {python_version!r}."
        )
    found = python_version
    for package in packages:
        asked = _PYTHON.fullmatch(package.strip())
        minor = _ONE_MINOR.fullmatch(asked[1].strip()) if asked else None
        if minor is None:
            continue
        if found is not None and not is_within(found, minor[1]):
            where = f"Option 'python_version' asks for Python {found}"
            if python_version is None:
                where = f"Another package asks for Python {found}"
            raise OptionError(
                f"{where}, and package {package!r} for another. Leave one of them out."
            )
        found = found or minor[1]
    if found is None:
        _check_ranges(packages)
    if problem := python_problem(found):
        raise OptionError(f"{problem} Ask for another with option 'python_version'.")
    return found


def _check_ranges(packages: Iterable[str]) -> None:
    """
    Check that the caller's Python is among the versions that *packages* allow.
    """
    for package in packages:
        asked = _PYTHON.fullmatch(package.strip())
        if asked is None or not _RANGE.fullmatch(asked[1].strip()):
            continue
        from packaging.specifiers import SpecifierSet

        allowed = SpecifierSet(asked[1])
        if not any(f"{THIS_PYTHON}.{patch}" in allowed for patch in range(100)):
            raise OptionError(
                f"Package {package!r} leaves out Python {THIS_PYTHON}, which is the caller's. "
                "Say with option 'python_version' which one the environment has."
            )
