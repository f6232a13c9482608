"""Definitions: the options of a declaration, brought together and checked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import attrs

from fal_core.environments import THIS_PYTHON, is_within, python_problem
from fal_core.errors import OptionError
from fal_env_conda.declaring.channels import (
    Credentials,
    check_channel,
    check_credentials,
    find_credentials,
    strip,
    strip_package,
    to_urls,
    urls_in,
)
from fal_env_conda.declaring.environment_files import EnvironmentFile
from fal_env_conda.declaring.lock_files import Lock
from fal_env_conda.rattling.platforms import subdir

if TYPE_CHECKING:
    from fal_uv.installing.indexes import Indexes

_PYTHON = re.compile(r"(?:[^\s:]+::)?python(?![\w.-])\s*(.*)", re.IGNORECASE)
_VERSION_IN_BRACKETS = re.compile(r"""\[\s*version\s*=\s*["']?([^"'\]]+)["']?\s*\]""")
_ONE_VERSION = re.compile(r"=?=?\s*(\d\.\d+(?:\.\d+)*)(?:\.?\*)?(?:\s.*)?")
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

        indexes: URLs of indexes for *pip*, which are searched before the usual ones.

        index_url: The index for *pip* in place of the usual default one.

        torch_backend: Which builds of PyTorch *pip* takes, as uv names them.

        lock: The packages, where they were chosen before.

        variables: Environment variables of every program in it.
    """

    channels: tuple[str, ...] = attrs.field(repr=False)
    packages: tuple[str, ...] = ()
    python_version: str | None = None
    pip: tuple[str, ...] = ()
    indexes: tuple[str, ...] = attrs.field(default=(), repr=False)
    index_url: str | None = attrs.field(default=None, repr=False)
    torch_backend: str | None = None
    lock: Lock | None = None
    variables: tuple[tuple[str, str], ...] = ()

    @property
    def specs(self) -> tuple[str, ...]:
        """The packages to solve for, Python among them, without credentials."""
        packages = map(strip_package, self.packages)
        return (*packages, f"python {self.python_version or THIS_PYTHON}.*")

    @property
    def public_channels(self) -> tuple[str, ...]:
        """The channels, without credentials."""
        return tuple(map(strip, self.channels))

    def find_indexes(self, *, offline: bool = False) -> Indexes:
        """Return the indexes that what *pip* requires comes from."""
        from fal_uv.installing.indexes import Choices, find_indexes

        return find_indexes(
            self.indexes,
            default=self.index_url,
            choices=Choices(torch_backend=self.torch_backend),
            offline=offline,
        )

    @property
    def credentials(self) -> tuple[Credentials, ...]:
        """Those of the channels, and of packages that name a channel or an archive."""
        return find_credentials((*self.channels, *_urls_of(self.packages)))


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
    urls = to_urls((*file.channels, *channels))
    check_credentials((*urls, *_urls_of(listed)))
    return Definition(
        channels=urls,
        packages=without_python(listed),
        python_version=_find_version(listed, python_version),
        pip=_entries((*file.pip, *pip)),
        indexes=_indexes((*file.pip, *pip)),
        variables=file.variables,
    )


def _urls_of(packages: Iterable[str]) -> Iterator[str]:
    return (url for package in packages for url in urls_in(package))


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
    for folder in lock.folders:
        check_channel(folder)
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

    entry = parse_entry(text)
    if entry.form == "flag":
        flag = entry.text.partition("=")[0]
        raise OptionError(
            f"Requirement {flag!r} has no meaning in option 'pip'. Name indexes by the options "
            "'index_url' and 'extra_index_urls'."
        )
    if entry.form == "settled":
        raise OptionError(
            f"Requirement {text!r} says which versions there are, and conda chooses its own. "
            "List what it requires here, or use kind 'virtualenv'."
        )
    return entry.text


def _entries(pip: Iterable[str]) -> tuple[str, ...]:
    """Return the requirements among *pip*, with absolute paths."""
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
    """Return the version of Python that is asked for, by *packages* too."""
    if python_version is not None and not re.fullmatch(r"3\.\d+(?:\.\d+)?", python_version):
        raise OptionError(
            f"Option 'python_version' must be a version, as in '3.11', not {python_version!r}."
        )
    found = python_version
    for package in packages:
        asked = _ONE_VERSION.fullmatch(_asked_of_python(package) or "")
        if asked is None:
            continue
        version = asked[1]
        if found is not None and not (is_within(version, found) or is_within(found, version)):
            where = f"Option 'python_version' asks for Python {found}"
            if python_version is None:
                where = f"Another package asks for Python {found}"
            raise OptionError(
                f"{where}, and package {package!r} for another. Leave one of them out."
            )
        if found is None or is_within(version, found):
            found = version
    _check_ranges(packages, found)
    found = python_version or (found and ".".join(found.split(".")[:2]))
    if problem := python_problem(found):
        raise OptionError(f"{problem} Ask for another with option 'python_version'.")
    return found


def _asked_of_python(package: str) -> str | None:
    """Return which versions of Python *package* asks for; None if it is not Python."""
    asked = _PYTHON.fullmatch(package.strip())
    if asked is None:
        return None
    in_brackets = _VERSION_IN_BRACKETS.fullmatch(asked[1])
    return (asked[1] if in_brackets is None else in_brackets[1]).strip()


def _check_ranges(packages: Iterable[str], version: str | None) -> None:
    """Check that *version* of Python, or else the caller's, is among those that *packages* allow."""
    python = version or THIS_PYTHON
    numbers = python.split(".")
    patches = [python] if len(numbers) > 2 else [f"{python}.{patch}" for patch in range(100)]
    for package in packages:
        asked = _asked_of_python(package)
        if not asked or not _RANGE.fullmatch(asked):
            continue
        from packaging.specifiers import SpecifierSet

        allowed = SpecifierSet(asked)
        if any(patch in allowed for patch in patches):
            continue
        if version is None:
            raise OptionError(
                f"Package {package!r} leaves out Python {python}, which is the caller's. "
                "Say with option 'python_version' which one the environment has."
            )
        raise OptionError(
            f"Package {package!r} leaves out Python {python}, which option 'python_version' or "
            "another package asks for. Leave one of them out."
        )
