"""
Package indexes: where uv takes packages from on this machine.

uv's own variables count, and the ``uv.toml`` of the user and of the system. If no
variable of uv names an index, the variables of pip do. Both have one that says to look in no
index; uv has an option for that, and does not read the variables.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable

import attrs

from fal_core.reprs import show_fields
from fal_core.stores import file_stamps
from fal_uv.requirements import url_credentials
from fal_uv.variables import is_set

_DEFAULT = ("UV_DEFAULT_INDEX", "UV_INDEX_URL")
_EXTRA = ("UV_INDEX", "UV_EXTRA_INDEX_URL")
#: Variables, apart from the URLs of indexes, that change which packages are chosen.
_CHOICES = (
    "UV_FIND_LINKS",
    "UV_INDEX_STRATEGY",
    "UV_RESOLUTION",
    "UV_PRERELEASE",
    "UV_EXCLUDE_NEWER",
    "UV_TORCH_BACKEND",
    "UV_CONSTRAINT",
    "UV_OVERRIDE",
    "UV_NO_BINARY",
    "UV_ONLY_BINARY",
    "UV_NO_BUILD",
    "UV_NO_CONFIG",
)
_INDEX_OPTION = r"(?m)^--index-url (\S+)$"

# Caching rules that a well-kept index states itself. Without them, uv would ask the index,
# and fetch its files, again for each environment. uv takes such rules only in a
# configuration file, together with the URL of the index.
_CONFIG = """\
[[index]]
url = "{url}"
default = true
cache-control = {{ api = "max-age=600", files = "max-age=31536000, immutable" }}
"""


@attrs.frozen(kw_only=True)
class Choices:
    """
    Which of the versions on an index are taken.

    Attributes:
        exclude_newer: A date, or how long ago, as in ``7 days``: nothing newer is taken.

        torch_backend: For which accelerator PyTorch is taken, as uv names them.
    """

    __repr__ = show_fields

    exclude_newer: str | None = None
    torch_backend: str | None = None

    @property
    def options(self) -> tuple[str, ...]:
        """The choices as options of uv."""
        newer, torch = self.exclude_newer, self.torch_backend
        return (
            *(() if newer is None else ("--exclude-newer", newer)),
            *(() if torch is None else ("--torch-backend", torch)),
        )


@attrs.frozen(kw_only=True)
class Indexes:
    """
    The indexes that an environment is built from.

    Attributes:
        default: The URL of the default index, with credentials. None if nothing names
            one; :meth:`with_default` then asks uv.

        variables: Variables to set for uv; None removes one.

        configuration: The ``uv.toml`` files of the user and the system that exist.

        options: Options of uv beside them.

        choices: Options of uv that say which versions are taken, as declared.

        offline: Whether uv takes packages from its cache and from this machine alone.
    """

    __repr__ = show_fields

    default: str | None
    variables: dict[str, str | None] = attrs.field(repr=False)
    configuration: tuple[str, ...]
    options: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    offline: bool = False

    @property
    def config(self) -> str | None:
        """
        The text of a configuration file with which uv caches what it fetches.

        None if the user has a configuration file, or the URL of the index is not known
        or contains credentials, which are not written to files.
        """
        if self.configuration or self.default is None:
            return None
        if url_credentials.strip(self.default) != self.default:
            return None
        if '"' in self.default or "\\" in self.default:
            return None
        return _CONFIG.format(url=self.default)

    def fingerprint(self) -> tuple[object, ...]:
        """Return a value that tells these indexes from others, without credentials."""
        chosen = [(name, os.environ[name]) for name in _CHOICES if name in os.environ]
        named = [(name, value) for name, value in self.variables.items() if value is not None]
        return (
            self.default and url_credentials.strip(self.default),
            [(name, url_credentials.strip(value)) for name, value in sorted({*named, *chosen})],
            [url_credentials.strip(_read_text(path)) for path in self.configuration],
            *self.options,
            *self.choices,
        )

    def terms(self) -> tuple[object, ...]:
        """
        Return a value that tells who asks these indexes from others who ask the same: their
        credentials, and the files that may have some.
        """
        home = os.path.expanduser("~")
        data = os.environ.get("XDG_DATA_HOME") or os.path.join(home, ".local", "share")
        files = (
            *self.configuration,
            os.environ.get("NETRC") or os.path.join(home, ".netrc"),
            os.path.join(data, "uv", "credentials", "credentials.toml"),
        )
        return (
            self.default,
            sorted(self.variables.items()),
            self.options,
            self.choices,
            self.offline,
            file_stamps(files),
        )

    def with_default(self, root: str) -> Indexes:
        """
        Return these indexes with the default of uv, if nothing names another.

        uv's answer is kept below *root*, so that it is asked once.
        """
        if self.default is not None or self.configuration or self.options:
            return self
        return attrs.evolve(self, default=_default_of_uv(root))

    def described(self) -> str:
        """Say where packages are looked for, without credentials."""
        if "--no-index" in self.options:
            return "in no index, as a variable says"
        more = self.variables.get("UV_INDEX") or ""
        named = [*more.split(), *filter(None, [self.variables.get("UV_DEFAULT_INDEX")])]
        if not named:
            return "on the default index"
        urls = [url_credentials.mask(each.partition("=")[2] or each) for each in named]
        return f"on {' and '.join(urls)}"


def find_indexes(
    extra: Iterable[str] = (),
    *,
    default: str | None = None,
    links: Iterable[str] = (),
    choices: Choices | None = None,
    offline: bool = False,
) -> Indexes:
    """
    Return the indexes that the variables and files of this machine name.

    Arguments:
        extra: URLs of further indexes, which come before those that variables add.

        default: The URL of the index in place of the one that they name.

        links: Pages and folders with links to distributions, beside those that they name.

        choices: Which versions are taken.

        offline: Whether no network may be used, as if ``UV_OFFLINE`` said so.
    """
    changes: dict[str, str | None] = {}
    of_uv = os.environ.get("UV_FIND_LINKS") or ""
    named_links = ",".join(filter(None, (*links, of_uv or _links_of_pip())))
    if named_links != of_uv:
        changes["UV_FIND_LINKS"] = named_links
    if offline:
        changes["UV_OFFLINE"] = "1"
    offline = offline or is_set("UV_OFFLINE")
    named, more = _named(extra)
    default = default or named
    if more:
        changes["UV_INDEX"] = more
        changes["UV_EXTRA_INDEX_URL"] = None
    if default is not None:
        changes["UV_DEFAULT_INDEX"] = default
        changes["UV_INDEX_URL"] = None
    without = _is_without()
    return Indexes(
        default=None if without else default,
        variables=changes,
        configuration=tuple(_configuration_files()),
        options=("--no-index",) if without else (),
        choices=() if choices is None else choices.options,
        offline=offline,
    )


def _is_without() -> bool:
    """Tell whether a variable says to look in no index."""
    return is_set("UV_NO_INDEX") or (not _names_of_uv() and is_set("PIP_NO_INDEX"))


def _names_of_uv() -> bool:
    """Tell whether a variable of uv names an index."""
    return any(os.environ.get(name) for name in (*_DEFAULT, *_EXTRA))


def _named(extra: Iterable[str]) -> tuple[str | None, str]:
    """Return the default index that variables name, and the others with *extra* before them."""
    variables = os.environ
    if _names_of_uv():
        default = next((variables[name] for name in _DEFAULT if variables.get(name)), None)
        more = [variables[name] for name in _EXTRA if variables.get(name)]
    else:
        default = variables.get("PIP_INDEX_URL") or None
        more = [variables.get("PIP_EXTRA_INDEX_URL", "")]
    return default, " ".join((*extra, *more)).strip()


def _default_of_uv(root: str) -> str | None:
    """Return the URL of the index that uv uses if nothing names one; None if it does not say."""
    from fal_uv.running.program_answers import keep_answer, read_answer
    from fal_uv.running.uv import ask, uv_command

    path = os.path.join(root, "uv.json")
    (executable,) = uv_command()
    if (known := read_answer(path, executable)) is not None:
        return str(known)
    # For no requirements at all, uv prints nothing but the options that it would use.
    arguments = ("--emit-index-url", "--no-header", "--offline", "--no-config", "--quiet")
    python = ("--python", sys.executable)
    code, output = ask([executable, "pip", "compile", *arguments, *python, "-"])
    found = re.search(_INDEX_OPTION, output)
    if code != 0 or found is None:
        return None
    keep_answer(path, executable, found[1], program=executable)
    return found[1]


def _links_of_pip() -> str:
    """Return the value of ``PIP_FIND_LINKS`` in uv's format, without what does not exist."""
    links = os.environ.get("PIP_FIND_LINKS", "").split()
    return ",".join(link for link in links if "://" in link or os.path.exists(link))


def _configuration_files() -> Iterable[str]:
    if os.environ.get("UV_NO_CONFIG"):
        return []
    if named := os.environ.get("UV_CONFIG_FILE"):
        return [named]
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    system = os.environ.get("XDG_CONFIG_DIRS") or "/etc/xdg"
    places = (home, *system.split(":"), "/etc")
    paths = dict.fromkeys(os.path.join(place, "uv", "uv.toml") for place in places)
    return [path for path in paths if os.path.exists(path)]


def _read_text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""
