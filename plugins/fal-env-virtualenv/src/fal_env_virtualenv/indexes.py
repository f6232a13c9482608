"""
Where uv takes packages from, as the variables and files of this machine say.

uv's own variables and its ``uv.toml`` of the user and of the system count. Where
no variable of uv names an index, those of pip do.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable

import attrs

from fal_core.reprs import show_fields
from fal_env_virtualenv import credentials

_DEFAULT = ("UV_DEFAULT_INDEX", "UV_INDEX_URL")
_MORE = ("UV_INDEX", "UV_EXTRA_INDEX_URL")
#: What beside the addresses changes which packages are chosen.
_CHOICES = (
    "UV_FIND_LINKS",
    "UV_NO_INDEX",
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
_TOLD = r"(?m)^--index-url (\S+)$"

# What well-kept indexes say of their answers. Those that say nothing would be
# asked, and their files fetched, again for each environment; and uv takes rules
# for an index only beside its address.
_CONFIG = """\
[[index]]
url = "{url}"
default = true
cache-control = {{ api = "max-age=600", files = "max-age=31536000, immutable" }}
"""


@attrs.frozen(kw_only=True)
class Indexes:
    """
    The indexes that an environment is built from.

    Attributes:
        default: The address of the first, credentials included. None for the
            one that uv has without being told, see :meth:`with_default`.

        variables: Those to set for uv; None takes one out.

        configuration: The user's and the system's ``uv.toml``, those there are.
    """

    __repr__ = show_fields

    default: str | None
    variables: dict[str, str | None] = attrs.field(repr=False)
    configuration: tuple[str, ...]

    @property
    def config(self) -> str | None:
        """
        A configuration for uv that lets it keep what it fetched.

        None where the user has one, or the address is not known, or may not be
        written down.
        """
        if self.configuration or self.default is None:
            return None
        if credentials.without(self.default) != self.default:
            return None
        if '"' in self.default or "\\" in self.default:
            return None
        return _CONFIG.format(url=self.default)

    def fingerprint(self) -> tuple[object, ...]:
        """
        What tells these indexes from others, without credentials.
        """
        chosen = [(name, os.environ[name]) for name in _CHOICES if name in os.environ]
        named = [(name, value) for name, value in self.variables.items() if value is not None]
        return (
            self.default and credentials.without(self.default),
            [(name, credentials.without(value)) for name, value in sorted({*named, *chosen})],
            [credentials.without(_text(path)) for path in self.configuration],
        )

    def with_default(self, root: str) -> Indexes:
        """
        Return these indexes with the address of the first, where uv tells its own.

        What it told is kept under *root*, so that it is asked once.
        """
        if self.default is not None or self.configuration or os.environ.get("UV_NO_INDEX"):
            return self
        return attrs.evolve(self, default=_default_of_uv(root))


def find_indexes(extra: Iterable[str] = ()) -> Indexes:
    """
    Return the indexes that count now, *extra* ones first among those added.
    """
    variables = os.environ
    default = next((variables[name] for name in _DEFAULT if variables.get(name)), None)
    more = " ".join((*extra, *(variables[name] for name in _MORE if variables.get(name))))
    changes: dict[str, str | None] = {}
    if not any(variables.get(name) for name in (*_DEFAULT, *_MORE, "UV_NO_INDEX")):
        default = variables.get("PIP_INDEX_URL") or None
        more = " ".join((more, variables.get("PIP_EXTRA_INDEX_URL", ""))).strip()
    if not variables.get("UV_FIND_LINKS") and (links := _links()):
        changes["UV_FIND_LINKS"] = links
    if more:
        changes["UV_INDEX"] = more
        changes["UV_EXTRA_INDEX_URL"] = None
    if default is not None:
        changes["UV_DEFAULT_INDEX"] = default
        changes["UV_INDEX_URL"] = None
    return Indexes(
        default=default,
        variables=changes,
        configuration=tuple(_configuration()),
    )


def _default_of_uv(root: str) -> str | None:
    """
    Return the address of the index that uv asks where nothing names one.
    """
    import json

    from fal_env_virtualenv.files import write_atomically
    from fal_env_virtualenv.tools import ask, uv_command

    path = os.path.join(root, "uv.json")
    (executable,) = uv_command()
    status = os.stat(executable)
    stamp = [executable, status.st_mtime_ns, status.st_size]
    try:
        with open(path, encoding="utf-8") as stream:
            known = json.load(stream)
        if known["stamp"] == stamp:
            return str(known["default"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    # Of no requirements, uv writes nothing but the options it would use.
    arguments = ("--emit-index-url", "--no-header", "--offline", "--no-config", "--quiet")
    python = ("--python", sys.executable)
    code, output = ask([executable, "pip", "compile", *arguments, *python, "-"])
    told = re.search(_TOLD, output)
    if code != 0 or told is None:
        return None
    write_atomically(path, json.dumps({"stamp": stamp, "default": told[1]}))
    return told[1]


def _links() -> str:
    """
    Return pip's directories of distributions as uv reads them.
    """
    links = os.environ.get("PIP_FIND_LINKS", "").split()
    return ",".join(link for link in links if "://" in link or os.path.exists(link))


def _configuration() -> Iterable[str]:
    if os.environ.get("UV_NO_CONFIG"):
        return []
    if named := os.environ.get("UV_CONFIG_FILE"):
        return [named]
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    system = os.environ.get("XDG_CONFIG_DIRS") or "/etc/xdg"
    places = (home, *system.split(":"), "/etc")
    paths = dict.fromkeys(os.path.join(place, "uv", "uv.toml") for place in places)
    return [path for path in paths if os.path.exists(path)]


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


def platform_name() -> str:
    """
    Return what wheels depend on beside the interpreter.
    """
    machine = os.uname().machine
    try:
        library = os.confstr("CS_GNU_LIBC_VERSION")
    except (AttributeError, ValueError, OSError):
        library = None
    return f"{sys.platform}-{machine}-{library or ''}"
